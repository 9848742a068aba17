"""Whole runs: the chain, exact resume after a kill, selection, divergence, one trace."""

import collections
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.config import Optimizer, Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.data.tables import read_image_table
from lifeq_jax.runs.folder import only_writer
from lifeq_jax.runs.rows import read_rows
from lifeq_jax.train import stage as stage_module
from lifeq_jax.train.run import run_recipe
from tests.kills import compare
from tests.train.killed_runs import latest_weights, metrics, train_killed


@pytest.fixture(scope="module")
def recipe(recipe, changed, digits):
    """The tiny recipe with all images, of which it learns."""
    return changed(recipe, {"csv": str(digits / "tasks")})


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """An unbroken run of the tiny recipe: (folder, summary, calls of what each stage compiles: one per trace)."""
    folder, calls = tmp_path_factory.mktemp("runs") / "unbroken", collections.Counter()

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    def counting(name, make):
        return lambda *args, **fields: counted(name, make(*args, **fields))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("make_step", "make_score"):
            patch.setattr(stage_module, name, counting(name, getattr(stage_module, name)))
        summary = run_recipe(recipe, folder, log=lambda line: None)
    return folder, summary, calls


def test_a_run_leaves_all_its_files(finished, recipe):
    folder, summary, _ = finished
    names = {path.name for path in folder.iterdir()}
    files = {"config.json", "metrics.csv", "per_class.csv", "confusion.csv", "layers.csv"}
    assert files | {"tensorboard", "checkpoints", "accuracy_matrix.csv", "summary.json"} <= names
    assert summary["finished"] and set(summary["stages"]) == {"float", "w4a4"}
    matrix = np.loadtxt(folder / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    assert matrix.shape == (3, 3)
    assert summary["metrics"]["average_accuracy"] == pytest.approx(matrix[-1].mean())
    assert len(metrics(folder)) == 2 + 3 * 2
    assert list((folder / "tensorboard").iterdir())


def test_the_summary_tells_the_size_of_the_network(finished):
    folder, summary, _ = finished
    params, stats = latest_weights(folder)
    leaves = named_leaves(params)
    four = sum(leaf.size for name, leaf in leaves.items() if name.endswith("conv/kernel"))
    rest = sum(leaf.size for leaf in [*leaves.values(), *named_leaves(stats).values()]) - four
    size = summary["network"]
    assert (size["parameters"], size["bytes"]) == (sum(x.size for x in leaves.values()), four / 2 + 4 * rest)
    assert size["layers"]["stem/conv"] == [4, None, leaves["stem/conv/kernel"].size]
    assert 50 < summary["peak_megabytes"] < 100_000


def test_classes_are_counted_at_the_end_of_every_task(finished, digits):
    folder, summary, _ = finished
    rows, mistaken = (read_rows(folder / name)[1] for name in ("per_class.csv", "confusion.csv"))
    ends = {(row["stage"], int(row["after"]), int(row["task"])): [] for row in rows}
    for row in rows:
        ends[row["stage"], int(row["after"]), int(row["task"])].append(row)
    assert list(ends) == [(*end, task) for end in [("float", 0), *(("w4a4", t) for t in range(3))] for task in range(3)]
    matrix = np.loadtxt(folder / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    for (stage, after, task), classes in ends.items():
        labels, train, images, correct = np.array(
            [[int(row[name]) for name in ("class", "train_images", "images", "correct")] for row in classes]
        ).T
        for kind, counts in (("train", train), ("test", images)):
            table = read_image_table(digits / f"tasks_{kind}{task}.csv")
            np.testing.assert_array_equal(counts, np.bincount(table.label)[labels])
            assert counts.sum() == len(table.label)
        found = [row for row in mistaken if (row["stage"], row["after"], row["task"]) == (stage, str(after), str(task))]
        assert sum(int(row["images"]) for row in found) == images.sum()
        assert sum(int(row["images"]) for row in found if row["class"] == row["predicted"]) == correct.sum()
        if stage == "w4a4":
            assert correct.sum() / images.sum() == pytest.approx(matrix[after, task], rel=1e-6)
            epochs = [row for row in metrics(folder) if (row["stage"], row["task"]) == (stage, str(after))]
            assert float(epochs[-1][f"balanced_accuracy_{task}"]) == pytest.approx(np.mean(correct / images))
    last = [float(metrics(folder)[-1][f"balanced_accuracy_{task}"]) for task in range(3)]
    assert summary["metrics"]["balanced_accuracy"] == pytest.approx(np.mean(last))


def test_each_function_is_traced_once_for_all_tasks(finished):
    _, _, calls = finished
    assert calls == {"make_step": 2, "make_score": 2}  # once a stage


def test_training_learns_every_task(finished):
    folder, *_ = finished
    matrix = np.loadtxt(folder / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    assert (np.diag(matrix) > 0.5).all()


def test_forward_transfer_is_measured_against_the_start_of_the_last_stage(finished, recipe, changed, tmp_path):
    folder, summary, _ = finished
    matrix = np.loadtxt(folder / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    wanted = np.mean([matrix[0, 1] - summary["untrained"][1], matrix[1, 2] - summary["untrained"][2]])
    assert summary["metrics"]["fwt"] == pytest.approx(wanted)
    still = dict(stages=(Stage("w4", 4, 4, 1, 0.0),), optimizer=Optimizer(weight_decay=0.0))
    model = dict(model=Part("mlp", {"hidden": 8}), method=Part("finetune"))
    idle = run_recipe(changed(recipe, **still, **model), tmp_path / "idle", lambda line: None)
    assert idle["stages"] == {"w4": idle["untrained"]} and idle["metrics"]["fwt"] == 0.0


def test_a_finished_run_returns_at_once(finished, recipe):
    folder, summary, _ = finished
    said = []
    assert run_recipe(recipe, folder, log=said.append) == json.loads(json.dumps(summary))
    assert said == [f"{folder} is finished already; nothing to do"]


@pytest.mark.parametrize("moment", [("epoch", "5"), ("save", "8")])
def test_a_killed_run_resumes_bit_for_bit(finished, recipe, tmp_path, moment):
    whole, *_ = finished
    folder = tmp_path / "run"
    assert train_killed(recipe, folder, *moment) == -9
    assert not (folder / "summary.json").exists()
    assert bool(list(folder.rglob("*.orbax-checkpoint-tmp"))) == (moment[0] == "save")
    run_recipe(recipe, folder, log=lambda line: None)
    compare(whole, folder)  # as `make kills` compares
    (folder / "confusion.csv").write_text("")
    with pytest.raises(AssertionError, match="differs from .* in ./confusion.csv$"):
        compare(whole, folder)


def test_another_recipe_in_the_same_folder_is_refused(finished, recipe, changed):
    folder, *_ = finished
    with pytest.raises(Refusal, match=r"belongs to a recipe with seed=0, this one has 1; choose another --run folder"):
        run_recipe(changed(recipe, seed=1), folder)


def test_a_folder_that_another_process_writes_is_refused(recipe, tmp_path):
    with only_writer(tmp_path), pytest.raises(Refusal, match="is being written by another process"):
        run_recipe(recipe, tmp_path)


def test_an_unwritable_run_folder_is_refused(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="cannot be written: Not a directory"):
        run_recipe(recipe, tmp_path / "file" / "run")


def test_best_selection_keeps_the_best_epoch_on_validation_and_resumes(recipe, changed, tmp_path):
    stage = Stage("float", 32, 32, 3, 0.3, tasks=1)
    best = changed(recipe, {"validation": 0.2}, stages=(stage,), method=Part("finetune"), selection="best")
    run_recipe(best, tmp_path / "whole", log=lambda line: None)
    assert train_killed(best, tmp_path / "run", "epoch", "2") == -9
    run_recipe(best, tmp_path / "run", log=lambda line: None)
    whole, resumed = (named_leaves(latest_weights(tmp_path / name)) for name in ("whole", "run"))
    assert all((np.asarray(whole[name]) == np.asarray(resumed[name])).all() for name in whole)


def test_a_run_starts_from_another_run(finished, recipe, changed, tmp_path):
    folder, *_ = finished
    stages = (Stage("w2a2", 2, 2, 1, 0.0, tasks=1),)
    next_run = changed(recipe, stages=stages, start=str(folder), optimizer=Optimizer(weight_decay=0.0))
    run_recipe(changed(next_run, method=Part("finetune")), tmp_path / "run", log=lambda line: None)
    old, new = (latest_weights(f)[0] for f in (folder, tmp_path / "run"))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), old, new))


def test_a_start_of_another_architecture_is_refused_by_name(finished, recipe, changed, tmp_path):
    folder, *_ = finished
    other = changed(recipe, model=Part(recipe.model.name, {"width": 2}), start=str(folder))
    with pytest.raises(Refusal) as caught:
        run_recipe(other, tmp_path / "run", log=lambda line: None)
    assert "parameters do not fit the model, 10 in all (given -> wanted): " in str(caught.value)
    assert "blocks_0/units_0/conv/kernel 3x3x16x16 -> 3x3x2x2" in str(caught.value)


@pytest.mark.parametrize("how", ["resident", "pipeline"])
@pytest.mark.parametrize("content", [b"no image", None])
def test_a_broken_image_is_refused_with_its_row(recipe, changed, digits, tmp_path, how, content):
    shutil.copytree(digits, tmp_path / "copy")
    rows = (tmp_path / "copy" / "tasks_test0.csv").read_text().splitlines()
    image = tmp_path / "copy" / "images" / rows[3].split(",")[0]
    if content is None:
        Image.new("L", (9, 8)).save(image)
    else:
        image.write_bytes(content)
    where = {"root": str(tmp_path / "copy" / "images"), "csv": str(tmp_path / "copy" / "tasks"), "input": how}
    small = changed(recipe, where, stages=recipe.stages[:1], model=Part("mlp", {"hidden": 2}))
    with pytest.raises(Refusal) as caught:
        run_recipe(small, tmp_path / "run", log=lambda line: None)
    said = "is not a readable image" if content else "is 8x9 pixels, not 8x8"
    assert str(caught.value).startswith(f"{tmp_path}/copy/tasks_test0.csv, row 4: {image} {said}")


def test_both_inputs_train_the_same_network_to_the_last_bit(finished, recipe, changed, tmp_path):
    folder, *_ = finished
    run_recipe(changed(recipe, {"input": "pipeline"}), tmp_path / "run", log=lambda line: None)
    ours, other = (named_leaves(latest_weights(f)) for f in (folder, tmp_path / "run"))
    assert all((np.asarray(ours[name]) == np.asarray(other[name])).all() for name in ours)
