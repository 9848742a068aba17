"""A run goes on with the rows, images and weights that it began with, and with nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, stopping


@pytest.fixture
def small(recipe, changed, digits, few, tmp_path):
    """A recipe of one task in two epochs, on a copy of its images in tmp_path."""
    shutil.copytree(Path(few).parent, tmp_path, dirs_exist_ok=True)
    for kind in ("train", "test"):
        for row in (tmp_path / f"tasks_{kind}0.csv").read_text().splitlines()[1:]:
            image = tmp_path / "images" / row.split(",")[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(digits / image.relative_to(tmp_path), image)
    where = {"root": str(tmp_path / "images"), "csv": str(tmp_path / "tasks"), "num_tasks": 1, "replay": False}
    one = {
        "importance_data": "train",
        "stages": (Stage("w4", 4, 4, 2, 0.1),),
        "model": Part("mlp", {"hidden": 8}),
        "method": Part("finetune"),
    }
    return changed(recipe, where, **one)


def lines_reversed(path):
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")


def first_image(folder):
    return folder / "images" / (folder / "tasks_train0.csv").read_text().splitlines()[1].split(",")[0]


CHANGES = {
    "tasks_test0.csv": lambda folder: lines_reversed(folder / "tasks_test0.csv"),
    "train/": lambda folder: first_image(folder).write_bytes(first_image(folder).read_bytes() + b" "),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_does_not_go_on_with_other_data(small, tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, tmp_path / "run", silent, watch=stopping("checkpoint", 1))
    assert {"tasks_train0.csv", "tasks_test0.csv", "images"} == json.loads(
        (tmp_path / "run/data.json").read_text()
    ).keys()
    kept = {path: path.read_bytes() for path in (tmp_path / "tasks_test0.csv", first_image(tmp_path))}
    CHANGES[name](tmp_path)
    with pytest.raises(Refusal, match=f"began with other data: {name}.* has changed since; put it back, or choose an"):
        run_recipe(small, tmp_path / "run", silent)
    assert any("the data has changed since the run began: " + name in note for note in notes(tmp_path))
    for path, content in kept.items():
        path.write_bytes(content)
    assert run_recipe(small, tmp_path / "run", silent)["finished"]
    assert not any("data" in note for note in notes(tmp_path))
    shutil.move(tmp_path / "tasks_train0.csv", tmp_path / "elsewhere.csv")
    assert any("has changed cannot be told: " in note and "tasks_train0.csv" in note for note in notes(tmp_path))


def notes(folder):
    return evaluate_run(folder / "run", folder / "tasks_test0.csv").notes


def test_a_run_does_not_go_on_from_other_start_weights(small, changed, tmp_path):
    for seed in range(2):
        run_recipe(changed(small, seed=seed), tmp_path / f"first{seed}", silent)
    shutil.copytree(tmp_path / "first0", tmp_path / "first")
    second = changed(small, start=str(tmp_path / "first"))
    with pytest.raises(KeyboardInterrupt):
        run_recipe(second, tmp_path / "run", silent, watch=stopping("checkpoint", 1))
    shutil.rmtree(tmp_path / "first")
    shutil.copytree(tmp_path / "first1", tmp_path / "first")
    with pytest.raises(Refusal, match="began with other data: start='.*first' has changed since"):
        run_recipe(second, tmp_path / "run", silent)


def test_a_run_without_a_checkpoint_begins_anew_and_one_without_its_digests_is_refused(small, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, tmp_path / "run", silent, watch=stopping("epoch", 1))
    lines_reversed(tmp_path / "tasks_test0.csv")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, tmp_path / "run", silent, watch=stopping("checkpoint", 1))
    (tmp_path / "run/data.json").unlink()
    with pytest.raises(Refusal, match=r"data\.json does not exist; what the run in .* began with is not known"):
        run_recipe(small, tmp_path / "run", silent)
