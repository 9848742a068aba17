"""A run whose epochs are raised: it trains on, as if it had been that long from the start."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lifeq_jax.core.config import Optimizer, Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import file_columns
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, stopping
from tests.train.killed_runs import checkpointed, metrics


@pytest.fixture(scope="module")
def of(recipe, changed):
    """of(epochs, ...) -> a recipe of stages of one task in floating point and of two in 4 bits, a second's training."""

    def make(*epochs, **fields):
        stages = (Stage("float", 32, 32, epochs[0], 0.02, tasks=1), Stage("w4", 4, 4, epochs[1], 0.02, tasks=2))
        fields = {
            "model": Part("mlp", {"hidden": 8}),
            "method": Part("ewc"),
            "optimizer": Optimizer(schedule="constant"),
        } | fields
        return changed(recipe, stages=stages, **fields)

    return make


@pytest.fixture(scope="module")
def runs(of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("longer")
    run_recipe(of(1, 2), folder / "short", silent)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(of(1, 2), folder / "half", silent, watch=stopping("checkpoint", 1))
    return folder


def test_a_stopped_run_becomes_the_longer_one(runs, of, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "half", run)
    run_recipe(of(2, 3), run, silent)
    run_recipe(of(2, 3), tmp_path / "long", silent)
    assert metrics(run) == metrics(tmp_path / "long")
    assert len(metrics(run)) == 2 + 2 * 3
    for name in file_columns(3).keys() - {"metrics.csv"} | {"config.json", "accuracy_matrix.csv"}:
        assert (run / name).read_bytes() == (tmp_path / "long" / name).read_bytes(), name
    for stage in ("float", "w4"):
        ours, wanted = (checkpointed(folder, stage) for folder in (run, tmp_path / "long"))
        assert ours.keys() == wanted.keys()
        for name, leaf in wanted.items():
            np.testing.assert_array_equal(ours[name], leaf, err_msg=name)


@pytest.mark.parametrize("moment", [None, ("checkpoint", 1)])
def test_a_finished_run_trains_its_last_task_on(runs, of, tmp_path, moment):
    run = tmp_path / "run"
    shutil.copytree(runs / "short", run)
    said = []
    if moment:
        with pytest.raises(KeyboardInterrupt):
            run_recipe(of(1, 4), run, silent, watch=stopping(*moment))
        assert not (run / "summary.json").exists()
    summary = run_recipe(of(1, 4), run, said.append)
    assert (said[0] == "stage w4 goes on: 4 epochs of task 2 instead of 2") == (moment is None)
    rows = [(row["stage"], row["task"], row["epoch"]) for row in metrics(run)]
    assert rows == [("float", "0", "1"), *(("w4", "0", e) for e in "12"), *(("w4", "1", e) for e in "1234")]
    assert metrics(run)[:5] == metrics(runs / "short")
    classes = (run / "per_class.csv").read_text().splitlines()
    assert len(classes) == len({line.rsplit(",", 2)[0] for line in classes})
    assert classes[:-20] == (runs / "short" / "per_class.csv").read_text().splitlines()[:-20]
    assert np.loadtxt(run / "accuracy_matrix.csv", delimiter=",", skiprows=1).shape == (2, 2)
    assert summary["stages"].keys() == {"float", "w4"}
    assert run_recipe(of(1, 4), run, silent) == summary


def test_what_cannot_be_trained_on_is_refused(runs, of, tmp_path):
    before = (runs / "short" / "config.json").read_bytes()
    with pytest.raises(Refusal, match=r"stages.0.epochs cannot be raised: stage 'w4' has begun with what 'float' had"):
        run_recipe(of(2, 2), runs / "short", silent)
    with pytest.raises(Refusal, match=r"belongs to a recipe with stages.1.epochs=2, this one has 1"):
        run_recipe(of(1, 1), runs / "short", silent)
    with pytest.raises(Refusal, match=r"belongs to a recipe with seed=0, this one has 1"):
        run_recipe(replace(of(1, 3), seed=1), runs / "short", silent)
    assert (runs / "short" / "config.json").read_bytes() == before and (runs / "short" / "summary.json").exists()
    merged = of(1, 1, method=Part("imm"))
    run_recipe(merged, tmp_path / "imm", silent)
    with pytest.raises(Refusal, match="the stage is finished, and 'imm' has changed its network in the end"):
        run_recipe(of(1, 2, method=Part("imm")), tmp_path / "imm", silent)


def test_seeds_train_on_together(runs, of, tmp_path):
    shutil.copytree(runs / "short", tmp_path / "seed0")
    shutil.copytree(runs / "short", tmp_path / "seed1")
    config = tmp_path / "seed1" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(Refusal, match="seed1 belongs to another recipe than seed"):
        run_seeds(of(1, 3), (0,), tmp_path, silent)
    assert len(metrics(tmp_path / "seed0")) == 5
    assert run_seeds(of(1, 3), (0, 1), tmp_path, silent)["seeds"] == [0, 1]
    assert len(metrics(tmp_path / "seed0")) == len(metrics(tmp_path / "seed1")) == 6
