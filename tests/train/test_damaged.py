"""Damaged, incomplete, foreign and swapped checkpoints: the older whole one is used and said, else one line."""

import json
import shutil
from contextlib import closing

import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.checkpoint import Checkpoints
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, stopping
from tests.train.killed_runs import checkpointed, metrics


@pytest.fixture(scope="module")
def small(recipe, changed):
    """A network of a second's training, 3 tasks in 2 epochs."""
    stages = (Stage("w4", 4, 4, 2, 0.1),)
    return changed(recipe, stages=stages, model=Part("mlp", {"hidden": 8}), method=Part("ewc"))


@pytest.fixture(scope="module")
def runs(small, tmp_path_factory):
    """Folder with the run `whole`, and `half` with the checkpoints 3 and 4 of 6."""
    folder = tmp_path_factory.mktemp("damaged")
    run_recipe(small, folder / "whole", silent)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, folder / "half", silent, watch=stopping("checkpoint", 4))
    assert steps(folder / "half") == ["3", "4"] and steps(folder / "whole") == ["5", "6"]
    return folder


def steps(run):
    return sorted(path.name for path in (run / "checkpoints/w4").iterdir())


def flipped(step):
    """Changes one byte in the middle of the largest file."""
    path = max((step / "training").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def with_other_progress(step):
    [path] = [path for path in (step / "progress").iterdir() if "seconds" in path.read_text()]
    progress = json.loads(path.read_text())
    path.write_text(json.dumps(progress | {"seconds": progress["seconds"] + 1}))


def swapped(step):
    other = step.parent / str(int(step.name) - 1)
    shutil.rmtree(step / "training")
    shutil.copytree(other / "training", step / "training")


def emptied(step):
    for path in (step / "progress").iterdir():
        path.write_bytes(b"")


def foreign(step):
    (step.parent / str(int(step.name) + 1)).mkdir()


def junk(step):
    foreign(step)
    (step.parent / str(int(step.name) + 1) / "progress").write_text("junk")


DAMAGES = {
    "a flipped byte": flipped,
    "other numbers": with_other_progress,
    "an item of another step": swapped,
    "an empty file": emptied,
    "no network": lambda step: shutil.rmtree(step / "network"),
    "no digest": lambda step: shutil.rmtree(step / "digest"),
    "an empty folder": foreign,
    "junk": junk,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_goes_on_from_the_newest_whole_checkpoint_and_says_so(runs, small, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(runs / "half", run)
    DAMAGES[damage](run / "checkpoints/w4/4")
    said = []
    run_recipe(small, run, said.append)
    used, bad = (4, 5) if damage in ("an empty folder", "junk") else (3, 4)
    assert said[0].startswith(f"checkpoint {run / 'checkpoints/w4' / str(bad)} ")
    assert said[0].endswith(f"; the older {used} is used") and "\n" not in said[0]
    assert metrics(run) == metrics(runs / "whole")
    ours, wanted = (checkpointed(folder, "w4") for folder in (run, runs / "whole"))
    assert ours.keys() == wanted.keys()
    for name, leaf in wanted.items():
        np.testing.assert_array_equal(ours[name], leaf, err_msg=name)


def test_a_stage_without_a_whole_checkpoint_is_refused_in_one_line(runs, small, digits, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "half", run)
    for step in ("3", "4"):
        emptied(run / "checkpoints/w4" / step)
    for read in (lambda: run_recipe(small, run, silent), lambda: evaluate_run(run, digits / "tasks_test0.csv")):
        with pytest.raises(
            Refusal, match=r"no checkpoint in .*w4 is whole: 4 cannot be read: .*; 3 cannot be "
        ) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_an_evaluation_says_of_what_it_is(runs, digits, tmp_path):
    test, run = digits / "tasks_test0.csv", tmp_path / "run"
    assert evaluate_run(runs / "whole", test).notes == ()
    shutil.copytree(runs / "half", run)
    assert evaluate_run(run, test).notes == ("the stage is not finished; this is after 2 tasks",)
    flipped(run / "checkpoints/w4/4")
    damaged, unfinished = evaluate_run(run, test).notes
    assert "w4/4 " in damaged and damaged.endswith("; the older 3 is used")
    assert unfinished == "the stage is not finished; this is after 1 task and 1 epoch of the next"


@pytest.mark.parametrize("damage", [flipped, shutil.rmtree])
def test_a_finished_run_without_its_last_checkpoint_is_refused(runs, small, changed, digits, tmp_path, damage):
    run = tmp_path / "run"
    shutil.copytree(runs / "whole", run)
    damage(run / "checkpoints/w4/6")
    said = "the stage was trained to its end, and the checkpoint of that is gone or damaged; what is left is after 2 "
    with pytest.raises(Refusal, match=said):
        evaluate_run(run, digits / "tasks_test0.csv")
    with pytest.raises(Refusal, match=said):
        run_recipe(changed(small, start=str(run)), tmp_path / "next", silent)


def test_a_checkpoint_saved_after_a_damaged_one_is_the_newest(runs, small, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "half", run)
    flipped(run / "checkpoints/w4/4")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, run, silent, watch=stopping("checkpoint", 1))
    with closing(Checkpoints(run / "checkpoints/w4")) as checkpoints:
        assert checkpoints.progress().matrix and checkpoints.note() is None


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model": {"name": "mlp", "args": {"hidden": 17}}}, r"parameters do not fit the model, \d+ in all"),
        ({"model": {"name": "mlp", "args": {"zzz": 1}}}, "zzz=1 is no argument of 'mlp'"),
        ({"weight_quantizer": {"name": "lsq", "args": {}}}, "parameters do not fit the model"),
    ],
)
def test_an_evaluation_checks_the_config_as_training_does(runs, digits, tmp_path, change, said):
    run = tmp_path / "run"
    shutil.copytree(runs / "half", run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(Refusal, match=said):
        evaluate_run(run, digits / "tasks_test0.csv")


def test_reading_a_stage_without_a_checkpoint_makes_no_folder(tmp_path):
    with closing(Checkpoints(tmp_path / "run/checkpoints/w4")) as checkpoints:
        assert checkpoints.progress() is None
        with pytest.raises(Refusal):
            checkpoints.weights()
    assert not (tmp_path / "run").exists()
