"""per_class.csv comes back as arrays, its numbers by hand, and a damaged one is refused in one line."""

import dataclasses

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.classify import class_shares
from lifeq_jax.report.classes import NUMBERS, Classes, class_curve, class_numbers, is_unbalanced, read_classes
from lifeq_jax.report.runs import read_run
from tests.report.folders import CLASS_HEADER, CORRECT, SIZES, add_classes, recipe, rewrite, write_run


@pytest.fixture
def classes(tmp_path):
    return read_run(add_classes(write_run(tmp_path / "run"))).classes


def single(train_images, images, correct):
    """One task."""
    return Classes(*(np.array([row]) for row in (train_images, images, correct)))


def test_reads_the_end_of_the_last_stage(classes):
    assert [table.shape for table in classes] == [(3, 10)] * 3
    for task in range(3):
        np.testing.assert_array_equal(classes.train_images[task, 1:5], SIZES[task])
        np.testing.assert_array_equal(classes.correct[task, 1:5], CORRECT[task])
        np.testing.assert_array_equal(classes.images[task], [0, 20, 20, 20, 20, 0, 0, 0, 0, 0])
    assert classes.train_images[:, 0].tolist() == [7, 0, 0]
    assert classes.train_images[:, 5:].max() == classes.correct[:, 5:].max() == 0


def test_a_run_without_the_file_has_no_classes(tmp_path):
    assert read_run(write_run(tmp_path / "run")).classes is None


def test_columns_may_stand_in_any_order(tmp_path, classes):
    folder = add_classes(write_run(tmp_path / "other"))
    rewrite(folder / "per_class.csv", lambda row: dict(reversed(row.items())))
    np.testing.assert_array_equal(read_run(folder).classes, classes)


def test_a_stage_of_fewer_tasks_leaves_the_others_out(tmp_path):
    path = add_classes(write_run(tmp_path / "run")) / "per_class.csv"
    stage = dataclasses.replace(recipe().stages[0], tasks=1)
    classes = read_classes(path, dataclasses.replace(recipe(), stages=(stage,)), 1)
    assert classes.images.shape == (1, 10) and classes.correct.sum() == 0


def test_numbers_of_one_task_by_hand():
    classes = single([500, 101, 60, 5, 3], [10, 30, 10, 0, 10], [9, 21, 4, 0, 1])
    numbers = class_numbers(classes, many=100, few=20)
    assert numbers.keys() == NUMBERS.keys()
    expected = [35 / 60, (0.9 + 0.7 + 0.4 + 0.1) / 4, (0.9 + 0.7) / 2, 0.4, 0.1]
    np.testing.assert_allclose(list(numbers.values()), expected)


def test_numbers_are_means_over_the_tasks_that_have_them(classes):
    numbers = class_numbers(classes, many=100, few=5)
    assert numbers["few"] == 0.0  # only task 2 has a class with fewer than 5
    assert numbers["many"] == pytest.approx((0.85 + 0.85 + 1.0) / 3)
    assert np.isnan(class_numbers(classes, many=400, few=0)["few"])


def test_unbalanced_if_the_scored_classes_of_a_task_differ(classes):
    assert is_unbalanced(classes)
    assert is_unbalanced(single([8, 9], [5, 5], [1, 1]))
    assert not is_unbalanced(single([8, 9, 8], [5, 0, 5], [1, 0, 1]))
    between = Classes(np.array([[8, 8], [9, 9]]), np.ones((2, 2), int), np.ones((2, 2), int))
    assert not is_unbalanced(between)


def test_the_curve_is_ordered_by_training_images():
    runs = [single([5, 70, 9, 70, 1], [10, 10, 10, 20, 0], correct) for correct in ([1, 8, 3, 10, 0], [3, 8, 3, 20, 0])]
    curve = class_curve(runs)
    assert curve.label.tolist() == [1, 3, 2, 0]
    assert curve.train_images.tolist() == [70, 70, 9, 5]
    np.testing.assert_allclose(curve.mean, [0.8, 0.75, 0.3, 0.2])
    np.testing.assert_allclose(curve.deviation, [0, 0.5 / np.sqrt(2), 0, 0.2 / np.sqrt(2)], atol=1e-12)


def test_the_curve_of_one_run_has_no_deviation(classes):
    curve = class_curve([classes])
    assert curve.label.tolist() == [1, 2, 3, 4] and not curve.deviation.any()
    np.testing.assert_allclose(curve.train_images, np.mean(list(SIZES.values()), axis=0))
    np.testing.assert_allclose(curve.mean, class_shares(classes.correct, classes.images)[:, 1:5].mean(axis=0))


def test_the_curve_passes_over_tasks_that_do_not_score_a_class():
    curve = class_curve([Classes(np.array([[9, 7], [3, 8]]), np.array([[4, 4], [0, 4]]), np.array([[1, 2], [0, 4]]))])
    assert (curve.label.tolist(), curve.train_images.tolist()) == ([0, 1], [9, 7.5])
    np.testing.assert_allclose(curve.mean, [0.25, 0.75])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stage,after,task\nfour,0,0\n", ": the header lacks class; it has stage, after, task"),
        (f"{CLASS_HEADER}\n", " has no rows"),
        (f"{CLASS_HEADER}\nfour,0,0,1\n", ", row 1: 4 values under 7 headings"),
        (f"{CLASS_HEADER}\nfour,0,0,one,5,5,5\n", ", row 1: class='one' is not a whole number"),
        (f"{CLASS_HEADER}\nfour,0,0,1,5,5,\n", ", row 1: correct='' is not a whole number"),
        (
            f"{CLASS_HEADER}\nfour,0,0,9,5,5,5\nfour,0,0,10,5,5,5\n",
            ", row 2: class=10 is out of range; choose from 0 to 9",
        ),
        (f"{CLASS_HEADER}\nfour,0,0,9,5,5,6\n", ", row 1: correct=6 is more than images=5"),
        (f"{CLASS_HEADER}\nfour,0,0,9,5,5,5\n", " lacks rows of stage four after task 2"),
        (f"{CLASS_HEADER}\nfour,2,0,9,5,5,5\nfour,2,1,9,5,5,5\n", " lacks rows of stage four after task 2"),
    ],
)
def test_refuses_a_damaged_file(tmp_path, text, line):
    folder = write_run(tmp_path / "run")
    (folder / "per_class.csv").write_text(text)
    with pytest.raises(Refusal) as refused:
        read_run(folder)
    assert str(refused.value) == f"{folder / 'per_class.csv'}{line}"
