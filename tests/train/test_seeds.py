"""Seeds side by side: each ends where its own run ends, whatever interrupts them."""

import dataclasses
import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.cli import main
from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.refusal import Diverged, Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.methods import METHODS
from lifeq_jax.train import loop, stage, tasks
from lifeq_jax.train.abreast import Job, make_abreast, score_abreast, train_abreast
from lifeq_jax.train.build import build_stage, build_world, complete
from lifeq_jax.train.loop import Place, advance_of, make_advance, make_scorer, score_rows, train_epoch
from lifeq_jax.train.mesh import Devices
from lifeq_jax.train.run import run_recipe, run_seeds
from lifeq_jax.train.stage import Saved
from lifeq_jax.train.step import TrainState, make_step
from tests.train.killed_runs import checkpointed, metrics

SEEDS = (3, 0, 1)


def silent(line: str) -> None:
    """A log that nobody reads."""


@pytest.fixture(scope="module")
def short(recipe, changed):
    """Two epochs of each of two tasks, in floating point, where no rounding magnifies a last digit."""
    stages = (Stage("float", 32, 32, 2, 0.05, tasks=2),)
    method = Part("ewc", {"strength": 10.0})
    return changed(recipe, stages=stages, model=Part("mlp", {"hidden": 16}), method=method, checkpoint_every=1)


@pytest.fixture(scope="module")
def alone(short, tmp_path_factory):
    """Folder of a separate run of every seed."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in SEEDS:
        run_recipe(dataclasses.replace(short, seed=seed), folder / f"seed{seed}", silent)
    return folder


def assert_equal_runs(ours, wanted):
    for seed in SEEDS:
        rows = [metrics(folder / f"seed{seed}") for folder in (ours, wanted)]
        for row, expected in zip(*rows, strict=True):
            assert (row["task"], row["epoch"], row["step"]) == tuple(expected[key] for key in ("task", "epoch", "step"))
            assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)
        arrays, expected = (checkpointed(folder / f"seed{seed}", "float") for folder in (ours, wanted))
        assert arrays.keys() == expected.keys()
        for name, leaf in expected.items():
            np.testing.assert_allclose(arrays[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("abreast", [True, False])
def test_seeds_side_by_side_equal_separate_runs(short, alone, tmp_path, monkeypatch, abreast):
    monkeypatch.setattr(tasks, "gains", lambda: abreast)
    traces, make_step = [], stage.make_step

    def counting(*args):
        step = make_step(*args)
        return lambda *parts: traces.append(None) or step(*parts)

    monkeypatch.setattr(stage, "make_step", counting)
    said = []
    found = run_seeds(short, SEEDS, tmp_path, said.append)
    assert len(traces) == 1
    assert Counter(line.split()[1] for line in said) == {str(seed): 4 for seed in SEEDS}
    assert_equal_runs(tmp_path, alone)
    assert found == json.loads((tmp_path / "seeds.json").read_text())
    assert found["seeds"] == list(SEEDS)
    summaries = [json.loads((tmp_path / f"seed{seed}" / "summary.json").read_text()) for seed in SEEDS]
    for name, both in found["metrics"].items():
        values = [summary["metrics"][name] for summary in summaries]
        np.testing.assert_allclose((both["mean"], both["std"]), (np.mean(values), np.std(values, ddof=1)), rtol=1e-9)
    assert found["metrics"]["average_accuracy"]["std"] > 0


def test_a_kill_between_the_saves_of_two_seeds_costs_nothing(short, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "gains", lambda: True)
    save, calls = Saved.save, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 5:  # the second seed's second epoch
            raise KeyboardInterrupt
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Saved, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_seeds(short, SEEDS, tmp_path, silent)
    run_recipe(dataclasses.replace(short, seed=SEEDS[2]), tmp_path / f"seed{SEEDS[2]}", silent)
    run_seeds(short, SEEDS, tmp_path, silent)
    assert_equal_runs(tmp_path, alone)


def test_every_seed_has_its_own_permutations(short, changed, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "gains", lambda: True)
    stages = (Stage("float", 32, 32, 1, 0.05, tasks=2),)
    whole = {"permuted": True, "pad": 0, "replay": False}
    recipe = changed(short, whole, stages=stages, importance_data="train")
    run_seeds(recipe, (0, 1), tmp_path, silent)
    for seed in (0, 1):
        run_recipe(dataclasses.replace(recipe, seed=seed), tmp_path / f"alone{seed}", silent)
        ours, wanted = (checkpointed(tmp_path / name, "float") for name in (f"seed{seed}", f"alone{seed}"))
        for name, leaf in wanted.items():
            np.testing.assert_allclose(ours[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)


CONTROLLED = {"weight_quantizer": Part("lsq"), "oscillation": Part("freeze", {"threshold": 0.1, "threshold_end": 0.1})}


@pytest.mark.parametrize("method", [*sorted(METHODS), "frozen lsq"])
@pytest.mark.parametrize("length", [1, 3])
def test_an_epoch_of_every_method_abreast_equals_single_ones(short, method, length, monkeypatch):
    monkeypatch.setattr(loop, "piece_length", lambda: length)
    fields = CONTROLLED if method == "frozen lsq" else {"method": Part(method)}
    recipe = complete(dataclasses.replace(short, **fields, stages=(Stage("w4a4", 4, 4, 1, 0.01),)))
    world = build_world(recipe)
    rows = jax.tree.map(lambda part: part[:128], world.tasks[0].train)
    built = build_stage(recipe, recipe.stages[0])
    advance = advance_of(make_step(built.network, built.method, built.optimizer, built.loss), world.input)
    scorer = make_scorer(built.network, world.input, world.spec, 32, 10)

    def job(seed: int) -> Job:
        params, stats = built.network.init(seed)
        states = built.optimizer.init(params), built.method.init(params)
        zero, ten = jnp.zeros((), jnp.int32), jnp.array(10, jnp.int32)
        state = TrainState(params, stats, *states, jnp.ones(10), zero, ten, jnp.ones(()))
        return Job(scorer, rows, state, Place(seed, 0, 0, 0))

    compiled = make_abreast([advance], scorer.evaluation, [world.input.constants] * 2)
    found = train_abreast(compiled.advances[0], [job(seed) for seed in (0, 1)])
    weights = [(state.params, state.batch_stats) for state, _ in found]
    scores = score_abreast(compiled.score, [scorer] * 2, [rows] * 2, weights)
    one = make_advance(advance, Devices())
    for seed, (state, result) in enumerate(found):
        wanted, expected = train_epoch(one, scorer, rows, job(seed).state, Place(seed, 0, 0, 0))
        assert result.loss == pytest.approx(expected.loss, rel=1e-3)
        score = score_rows(scorer, rows, *weights[seed])
        assert float(scores[seed].loss) == pytest.approx(float(score.loss), rel=1e-3)
        assert scores[seed].confusion.sum() == score.confusion.sum() == len(rows.index)
        leaves = named_leaves(state._asdict())
        for name, leaf in named_leaves(wanted._asdict()).items():
            np.testing.assert_allclose(leaves[name], leaf, rtol=1e-2, atol=1e-4, err_msg=name)
    assert int(wanted.step) == 4


@pytest.mark.parametrize("abreast", [True, False])
def test_a_seed_that_diverges_is_named(short, changed, tmp_path, monkeypatch, abreast):
    monkeypatch.setattr(tasks, "gains", lambda: abreast)
    stages = (dataclasses.replace(short.stages[0], learning_rate=1e6),)
    with (
        jax.debug_nans(False),
        pytest.raises(Diverged, match=r"stage float: .* of task 0 epoch \d of seed 0; the last"),
    ):
        run_seeds(changed(short, stages=stages), (0, 1), tmp_path, silent)


def test_what_cannot_run_side_by_side_is_refused(short, changed, tmp_path, capsys):
    with pytest.raises(Refusal, match="--seeds 1,2,1 names a seed twice"):
        run_seeds(short, (1, 2, 1), tmp_path)
    with pytest.raises(Refusal, match="--seeds trains on one device, and recipe.parallel='mesh'; choose 'none'"):
        run_seeds(changed(short, parallel="mesh"), (1, 2), tmp_path)
    assert not list(tmp_path.iterdir())
    assert main(["train", "configs/lifequant/resnet20_digits.py", "--seeds", "1;2"]) == 2
    assert "--seeds '1;2' is not a list of numbers like 0,1,2" in capsys.readouterr().err
