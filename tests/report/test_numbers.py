"""What a report takes of classes, layers and oscillating weights: by hand."""

import numpy as np
import pytest

from lifeq_jax.metrics.classify import class_shares
from lifeq_jax.report import layers, oscillation
from lifeq_jax.report.classes import NUMBERS, Classes, class_curves, class_numbers, is_unbalanced
from lifeq_jax.runs.columns import DISTANCES, LAYERS, METRICS
from lifeq_jax.runs.read import read_run
from tests.runs.folders import MATRIX, SIZES, make_group, make_run, rewrite


@pytest.fixture
def run(tmp_path):
    """A run that measured everything, before re-estimation half of each accuracy."""
    return read_run(make_run(tmp_path / "run", lower=0.5, sizes=SIZES, more=0))


@pytest.fixture
def plain(tmp_path):
    """A run that measured nothing but accuracies."""
    return read_run(make_run(tmp_path / "plain"))


def single(train_images, images, correct):
    """One task."""
    return Classes(*(np.array([row]) for row in (train_images, images, correct)))


def test_numbers_of_one_task_by_hand():
    classes = single([500, 101, 60, 5, 3], [10, 30, 10, 0, 10], [9, 21, 4, 0, 1])
    numbers = class_numbers(classes, many=100, few=20)
    assert numbers.keys() == NUMBERS.keys()
    expected = [35 / 60, (0.9 + 0.7 + 0.4 + 0.1) / 4, (0.9 + 0.7) / 2, 0.4, 0.1]
    np.testing.assert_allclose(list(numbers.values()), expected)


def test_numbers_are_means_over_the_tasks_that_have_them(run):
    numbers = class_numbers(run.classes, many=100, few=5)
    assert numbers["few"] == 0.0  # only task 2 has a class with fewer than 5
    assert numbers["many"] == pytest.approx((0.85 + 0.85 + 1.0) / 3)
    assert np.isnan(class_numbers(run.classes, many=400, few=0)["few"])


def test_unbalanced_if_the_scored_classes_of_a_task_differ_clearly(run, plain):
    assert is_unbalanced(run.classes) and is_unbalanced(single([8, 13], [5, 5], [1, 1]))
    assert not is_unbalanced(single([8, 12], [5, 5], [1, 1]))
    assert not is_unbalanced(plain.classes) and not is_unbalanced(single([8, 90, 8], [5, 0, 5], [1, 0, 1]))
    assert not is_unbalanced(Classes(np.array([[8, 8], [90, 90]]), np.ones((2, 2), int), np.ones((2, 2), int)))


def test_the_curve_is_ordered_by_training_images():
    runs = [single([5, 70, 9, 70, 1], [10, 10, 10, 20, 0], correct) for correct in ([1, 8, 3, 10, 0], [3, 8, 3, 20, 0])]
    (curve,) = class_curves(runs, ("a", "b", "c", "d", "e"))
    assert (curve.label.tolist(), curve.train_images.tolist()) == (["b", "d", "c", "a"], [70, 70, 9, 5])
    np.testing.assert_allclose(curve.mean, [0.8, 0.75, 0.3, 0.2])
    np.testing.assert_allclose(curve.deviation, [0, 0.5 / np.sqrt(2), 0, 0.2 / np.sqrt(2)], atol=1e-12)


def test_the_curves_of_one_run_are_by_task_and_have_no_deviation(run):
    curves = class_curves([run.classes], run.recipe.data.class_names)
    shares = class_shares(run.classes.correct, run.classes.images)[:, 1:5]
    for curve, sizes, expected in zip(curves, SIZES.values(), shares, strict=True):
        assert curve.label.tolist() == ["1", "2", "3", "4"] and not curve.deviation.any()
        assert curve.train_images.tolist() == list(sizes)
        np.testing.assert_allclose(curve.mean, expected)


def test_the_end_of_a_run_by_hand(run, plain):
    end = oscillation.at_end(run)
    assert end.keys() == oscillation.MEANINGS.keys() and layers.at_end(run.layers).keys() == layers.MEANINGS.keys()
    np.testing.assert_allclose(list(end.values()), [(0.5 + 0.85 + 0.7) / 3 / 2, 0.002, 0.3])
    np.testing.assert_allclose(list(layers.at_end(run.layers).values()), [126 / 420, 1 / 5])
    nothing = oscillation.at_end(plain) | layers.at_end(plain.layers)
    assert nothing.keys() == end.keys() | layers.MEANINGS.keys() and np.isnan(list(nothing.values())).all()


def test_bits_of_kernels_most_at_the_end_first_are_means_of_what_all_runs_have(tmp_path, run):
    bits = layers.frozen_bits([run.layers])
    assert list(bits) == ["blocks_0/dense", "stem/dense"]
    np.testing.assert_array_equal(list(bits.values()), [[1, 3, 8], [2, 4, 6]])
    folder = make_run(tmp_path / "other", more=1)
    rewrite(folder / LAYERS, lambda row: row | {"layer": row["layer"].replace("blocks_0", "blocks_1")})
    bits = layers.frozen_bits([run.layers, read_run(folder).layers])
    assert list(bits) == ["stem/dense"]
    np.testing.assert_array_equal(bits["stem/dense"], [2.5, 4.5, 6.5])


def test_reestimated_is_the_mean_of_the_tasks_seen(tmp_path, run, plain):
    means = [MATRIX[0][0], MATRIX[0][0], (0.95 + 0.8) / 2, (0.5 + 0.85 + 0.7) / 3]
    found = oscillation.reestimated(run)
    assert list(found) == [("float", 0), ("four", 0), ("four", 1), ("four", 2)]
    np.testing.assert_allclose(list(found.values()), [(mean / 2, mean) for mean in means])
    assert oscillation.reestimated(plain) == {}
    needed = {"stage": "four", "task": "1"}
    rewrite(
        run.folder / METRICS, lambda row: row | ({"running_accuracy_0": ""} if needed.items() <= row.items() else {})
    )
    assert list(oscillation.reestimated(read_run(run.folder))) == [("float", 0), ("four", 0), ("four", 2)]


def test_tracked_if_any_seed_is(tmp_path):
    some = make_group(tmp_path, None, {}, {"lower": 0.25})
    assert oscillation.is_tracked(some) and not oscillation.is_tracked(some._replace(runs=some.runs[:1]))


def test_distances_are_of_the_last_stage_and_averaged(tmp_path):
    group = make_group(tmp_path, None, {"lower": 0, "first": 2}, {"lower": 0, "first": 19}, {})
    ends = oscillation.distance_ends(group)
    np.testing.assert_array_equal(ends.first, 0.5 * (np.eye(20)[2] + np.eye(20)[19]))
    np.testing.assert_array_equal(ends.last, np.eye(20)[10])
    assert ends.labels == ("task 1, epoch 1", "task 1, epoch 2")
    assert oscillation.distance_ends(group._replace(runs=group.runs[2:])) is None


@pytest.mark.parametrize("change", [{"stage": "float"}, {f"bin_{number}": 0 for number in range(20)}])
def test_rows_of_another_stage_or_without_counts_are_passed_over(tmp_path, run, change):
    group = make_group(tmp_path)
    rewrite(run.folder / DISTANCES, lambda row: row | (change if row["epoch"] == "1" else {}))
    ends = oscillation.distance_ends(group._replace(runs=(read_run(run.folder),)))
    np.testing.assert_array_equal([ends.first, ends.last], [np.eye(20)[10]] * 2)
    assert ends.labels == ("task 1, epoch 2",) * 2
    rewrite(run.folder / DISTANCES, lambda row: row | change)
    assert oscillation.distance_ends(group._replace(runs=(read_run(run.folder),))) is None
