"""Seeds side by side: each ends where its own run ends, whatever interrupts them."""

import dataclasses
import json
from collections import Counter

import jax
import numpy as np
import pytest

from lifeq_jax.cli import main
from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.methods import METHODS
from lifeq_jax.train import drive, loop
from lifeq_jax.train import stage as stage_module
from lifeq_jax.train.abreast import make_abreast
from lifeq_jax.train.build import complete
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.loop import Place
from lifeq_jax.train.run import run_recipe
from lifeq_jax.train.stage import AllTasks, Epoch, Seed, compile_stage
from tests.train.jobs import silent, state_of, stopping, world_of
from tests.train.killed_runs import checkpointed, metrics

SEEDS = (3, 0, 1)


@pytest.fixture(scope="module")
def short(recipe, changed):
    """Two epochs of each of two tasks, in floating point, where no rounding magnifies a last digit."""
    stages = (Stage("float", 32, 32, 2, 0.05, tasks=2),)
    method = Part("ewc", {"strength": 10.0})
    return changed(
        recipe, {"batch_size": 16}, stages=stages, model=Part("mlp", {"hidden": 16}), method=method, checkpoint_every=1
    )


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
    monkeypatch.setattr(drive, "vmap_is_faster", lambda: abreast)
    traces, make_step = [], stage_module.make_step

    def counting(*args):
        step = make_step(*args)
        return lambda *parts: traces.append(None) or step(*parts)

    monkeypatch.setattr(stage_module, "make_step", counting)
    said = []
    found = run_seeds(short, SEEDS, tmp_path, said.append)
    assert len(traces) == 1
    assert Counter(line.split()[1] for line in said) == {str(seed): 4 for seed in SEEDS}
    assert_equal_runs(tmp_path, alone)
    assert found == json.loads((tmp_path / "seeds.json").read_text())
    assert found["seeds"] == sorted(SEEDS)
    summaries = [json.loads((tmp_path / f"seed{seed}" / "summary.json").read_text()) for seed in SEEDS]
    for name, both in found["metrics"].items():
        values = [summary["metrics"][name] for summary in summaries]
        np.testing.assert_allclose((both["mean"], both["std"]), (np.mean(values), np.std(values, ddof=1)), rtol=1e-9)
    assert found["metrics"]["average_accuracy"]["std"] > 0


def test_a_kill_between_the_saves_of_two_seeds_costs_nothing(short, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "vmap_is_faster", lambda: True)
    with pytest.raises(KeyboardInterrupt):  # at the second seed's second epoch, before its checkpoint
        run_seeds(short, SEEDS, tmp_path, silent, watch=stopping("epoch", 5))
    run_recipe(dataclasses.replace(short, seed=SEEDS[2]), tmp_path / f"seed{SEEDS[2]}", silent)
    run_seeds(short, SEEDS, tmp_path, silent)
    assert_equal_runs(tmp_path, alone)


def test_every_seed_has_its_own_permutations(short, changed, tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "vmap_is_faster", lambda: True)
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


@pytest.mark.parametrize(("method", "length"), [*((name, 3) for name in [*sorted(METHODS), "frozen lsq"]), ("ewc", 1)])
def test_an_epoch_of_every_method_abreast_equals_single_ones(short, method, length, monkeypatch):
    monkeypatch.setattr(loop, "piece_length", lambda: length)
    fields = CONTROLLED if method == "frozen lsq" else {"method": Part(method)}
    recipe = complete(dataclasses.replace(short, **fields, stages=(Stage("w4a4", 4, 4, 1, 0.01),)))
    world = world_of(recipe)
    task = world.tasks[0]._replace(train=jax.tree.map(lambda part: part[:64], world.tasks[0].train))
    world = world._replace(tasks=(task,))
    stage = compile_stage(recipe, 0, world)

    def ask(seed: int) -> Epoch:
        own = Seed(dataclasses.replace(recipe, seed=seed), world, None, None, silent, silent)
        return Epoch(stage, own, state_of(stage.built, seed), Place(seed, 0, 0, 0))

    compiled = make_abreast(stage, [world] * 2)
    trained = compiled.train([ask(seed) for seed in (0, 1)])
    asks = [AllTasks(stage, ask(seed).seed, state, Place(seed, 0, 0, 0)) for seed, (state, _) in enumerate(trained)]
    scored = compiled.score(asks)
    for seed, (state, result) in enumerate(trained):
        wanted, expected = ask(seed).compute()
        assert result.loss == pytest.approx(expected.loss, rel=1e-3)
        (ours,), (score,) = scored[seed], asks[seed].compute()
        assert float(ours.loss) == pytest.approx(float(score.loss), rel=1e-3)
        assert ours.confusion.sum() == score.confusion.sum() == len(task.score.index)
        leaves = named_leaves(state._asdict())
        for name, leaf in named_leaves(wanted._asdict()).items():
            np.testing.assert_allclose(leaves[name], leaf, rtol=1e-2, atol=1e-4, err_msg=name)
        assert int(wanted.step) == 4


def test_what_cannot_run_side_by_side_is_refused(short, changed, tmp_path, capsys):
    with pytest.raises(Refusal, match="--seeds 1,2,1 names a seed twice"):
        run_seeds(short, (1, 2, 1), tmp_path)
    with pytest.raises(Refusal, match="--seeds trains on one device, and recipe.parallel='mesh'; choose 'none'"):
        run_seeds(changed(short, parallel="mesh"), (1, 2), tmp_path)
    assert not list(tmp_path.iterdir())
    assert main(["train", "lifequant/resnet20_digits", "--seeds", "1;2"]) == 2
    assert "--seeds '1;2' is not a list of numbers like 0,1,2" in capsys.readouterr().err
