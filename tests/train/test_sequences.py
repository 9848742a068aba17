"""Whole runs over sequences whose tasks differ: heads, permuted pixels, frozen bits, patience."""

import dataclasses

import numpy as np
import pytest

from lifeq_jax.core.config import Optimizer, Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.data import order
from lifeq_jax.data.permute import permutations
from lifeq_jax.methods.blip import limits_of, protected
from lifeq_jax.quant import bit_alloc
from lifeq_jax.report.layers import at_end
from lifeq_jax.runs.read import read_run
from lifeq_jax.runs.rows import read_rows
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import world_of
from tests.train.killed_runs import checkpointed, latest_weights, metrics, train_killed


def quiet(line):
    """Logs nothing."""


@pytest.fixture(scope="module")
def sequence(recipe, changed, digits):
    """Three tasks of the digits (6, 6 and 8 classes), a head for each, a small perceptron under BLIP."""
    return changed(
        recipe,
        {
            "csv": str(digits / "tasks"),
            "heads": "per_task",
            "num_classes": 20,
            "replay": False,
            "pad": 0,
            "validation": 0.2,
        },
        model=Part("mlp", {"hidden": 32}),
        stages=(Stage("w32a32", 32, 32, 4, 0.1),),
        method=Part("blip", {"prior": 1e-6, "head": False}),
        loss=Part("cross_entropy"),
        optimizer=Optimizer(schedule="constant", momentum=0.9, weight_decay=0.0),
        importance_data="train",
    )


@pytest.fixture(scope="module")
def finished(sequence, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence") / "run"
    return folder, run_recipe(sequence, folder, log=quiet)


def test_labels_are_outputs_and_each_task_has_its_own(sequence, changed, few):
    world = world_of(changed(sequence, {"csv": few}))
    labels = [np.unique(task.train.label).tolist() for task in world.tasks]
    assert labels == [list(range(6)), list(range(6, 12)), list(range(12, 20))]
    assert [np.unique(task.score.label).tolist() for task in world.tasks] == labels
    feed = next(iter(world.input.feeds(world.tasks[1].train, _plan(4), 0)))
    batch = world.input.assemble(world.input.constants, feed)
    np.testing.assert_array_equal(batch.classes, np.tile(np.isin(np.arange(20), labels[1]), (4, 1)))


def _plan(size):
    return order.test_plan(size, size, order.ImageSpec((8, 8, 1), 0, (8, 8), (0.3,), (0.37,), False))


def test_blip_learns_every_task_and_forgets_nothing(finished):
    _, summary = finished
    assert summary["metrics"]["learning_accuracy"] > 0.85
    assert summary["metrics"]["bwt"] > -0.02


def test_the_run_says_what_is_frozen_after_every_task(finished):
    folder, summary = finished
    rows = read_rows(folder / "layers.csv")[1]
    assert {(row["after"], row["layer"]) for row in rows} == {
        (str(task), f"stem/dense/{leaf}") for task in range(3) for leaf in ("kernel", "bias")
    }
    bits = [float(row["value"]) for row in rows if (row["layer"], row["quantity"]) == ("stem/dense/kernel", "bits")]
    assert 0 < bits[0] < bits[1] < bits[2] <= 20
    assert 0 < summary["metrics"]["capacity"] < 1
    assert 0 <= summary["metrics"]["dead_units"] < 1


def test_the_report_reads_the_shares_of_the_summary(finished):
    folder, summary = finished
    end = at_end(read_run(folder).layers)
    assert end == {name: summary["metrics"][name] for name in ("capacity", "dead_units")}


def test_the_train_state_does_not_grow_with_the_tasks(finished):
    sizes = {float(row["state_megabytes"]) for row in read_rows(finished[0] / "metrics.csv")[1]}
    assert len(sizes) == 1 and sizes.pop() > 4 * 4 * (64 * 32) / 1e6  # weights, anchors, bits, information of the stem


def test_the_last_task_too_ends_with_rounded_weights(finished):
    leaves = checkpointed(finished[0], "w32a32")
    params, _ = latest_weights(finished[0])
    limits = limits_of(protected(params, head=False), 1.0, 6.0)
    for name, leaf in protected(params, head=False).items():
        bits = leaves[f"training/state/method_state/0/bits/{name}"]
        rounded = bit_alloc.quantize_bits(leaf, bits, limits[name].bound)
        margin = 2 * bit_alloc.MARGIN * limits[name].bound  # `settle` may stand a margin beside a level
        np.testing.assert_allclose(leaf, rounded, atol=margin)


@pytest.mark.exact
def test_a_killed_run_resumes_with_its_frozen_bits(finished, sequence, tmp_path):
    assert train_killed(sequence, tmp_path / "run", "epoch", "6") == -9
    run_recipe(sequence, tmp_path / "run", log=quiet)
    whole, resumed = checkpointed(finished[0], "w32a32"), checkpointed(tmp_path / "run", "w32a32")
    assert whole.keys() == resumed.keys()
    for name, leaf in whole.items():
        np.testing.assert_array_equal(resumed[name], leaf, err_msg=name)
    assert metrics(tmp_path / "run") == metrics(finished[0])
    assert (tmp_path / "run/layers.csv").read_text() == (finished[0] / "layers.csv").read_text()


def test_a_csv_is_evaluated_on_the_head_of_its_task(finished, digits):
    folder, summary = finished
    row = np.loadtxt(folder / "accuracy_matrix.csv", delimiter=",", skiprows=1)[-1]
    for task in range(3):
        found = evaluate_run(folder, digits / f"tasks_test{task}.csv", task=task)
        assert found.accuracy == pytest.approx(row[task], abs=1e-6)
    with pytest.raises(Refusal, match="--task is missing: the tasks of this run differ; choose from 0 to 2"):
        evaluate_run(folder, digits / "tasks_test0.csv")
    with pytest.raises(Refusal, match="--task 3 is not a task of the run; choose from 0 to 2"):
        evaluate_run(folder, digits / "tasks_test0.csv", task=3)


def test_permuted_tasks_are_one_csv_with_other_pixels(sequence, changed, few):
    plain = changed(sequence, {"csv": few, "heads": "shared", "num_classes": 10})
    permuted = changed(plain, {"permuted": True, "num_tasks": 2})
    worlds = world_of(permuted), world_of(plain)
    pixels = permutations(2, 64, permuted.seed)
    images = []
    for world, task in ((worlds[0], 0), (worlds[0], 1), (worlds[1], 0)):
        feed = next(iter(world.input.feeds(world.tasks[task].train, _plan(4), 0)))
        images.append(np.asarray(world.input.assemble(world.input.constants, feed).image).reshape(4, 64))
    for task in range(2):
        np.testing.assert_array_equal(images[task], images[2][:, pixels[task]])


def test_pixels_of_cropped_images_cannot_be_permuted(sequence, changed):
    with pytest.raises(
        Refusal, match="data.permuted=True needs whole images: crop as image, pad 0, no flip, no resize"
    ):
        changed(sequence, {"permuted": True, "pad": 1})


def test_every_task_may_have_its_own_normalization(sequence, changed, few):
    sequence = changed(sequence, {"csv": few})
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    world = world_of(changed(sequence, {"mean": mean, "std": std}))
    plain = world_of(changed(sequence, {"mean": (0.0,), "std": (1.0,)}))
    for task in range(3):
        feed = next(iter(world.input.feeds(world.tasks[task].train, _plan(4), 0)))
        raw = plain.input.assemble(plain.input.constants, feed).image
        found = world.input.assemble(world.input.constants, feed).image
        np.testing.assert_allclose(found, (raw - mean[task]) / std[task], rtol=1e-5, atol=1e-6)


def test_patience_lowers_the_rate_ends_tasks_and_keeps_the_lowest_loss(sequence, changed, tmp_path):
    optimizer = Optimizer(
        schedule="constant", momentum=0.0, weight_decay=0.0, patience=1, patience_factor=10.0, smallest_rate=0.4
    )
    stage = Stage("w32a32", 32, 32, 30, 4.0, tasks=1)  # too high a rate: the loss does not fall for long
    impatient = changed(
        sequence, method=Part("finetune"), optimizer=optimizer, selection="lowest_loss", stages=(stage,)
    )
    run_recipe(impatient, tmp_path / "run", log=quiet)
    rows = read_rows(tmp_path / "run/metrics.csv")[1]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] == pytest.approx(4.0) and rates[-1] == pytest.approx(0.4)
    assert len(rows) < 30
    assert rows[-1]["accuracy_0"]  # the last row is evaluated, although the task might have gone on
    assert train_killed(impatient, tmp_path / "killed", "epoch", "2") == -9
    run_recipe(impatient, tmp_path / "killed", log=quiet)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "run")


def test_batch_norm_keeps_its_statistics_after_the_first_tasks(recipe, changed, tmp_path):
    stage = Stage("w32a32", 32, 32, 1, 0.1)
    kept = changed(recipe, method=Part("finetune"), stages=(stage,), norm_tasks=1, loss=Part("cross_entropy"))
    run_recipe(kept, tmp_path / "kept", log=quiet)
    first = dataclasses.replace(kept, stages=(dataclasses.replace(stage, tasks=1),))
    run_recipe(first, tmp_path / "first", log=quiet)
    kept_params, kept_stats = map(named_leaves, latest_weights(tmp_path / "kept"))
    params, stats = map(named_leaves, latest_weights(tmp_path / "first"))
    for name, leaf in kept_stats.items():
        np.testing.assert_array_equal(leaf, stats[name], err_msg=name)
    assert any(bool((leaf != params[name]).any()) for name, leaf in kept_params.items())
