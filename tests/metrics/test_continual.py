"""Continual metrics by hand, against BLIP's own numbers, and their relations on any matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import (
    CONTINUAL,
    average_accuracy,
    bwt,
    bwt_over_all,
    change_per_task,
    continual_metrics,
    first_minus_last,
    forgetting,
    forgetting_per_task,
    formula,
    fwt,
    learning_accuracy,
)
from tests import vectors

NAN = np.nan
# After its training: task 0 has 0.9, task 1 0.8, task 2 0.7; at the end 0.5, 0.85, 0.7; task 0 was best at 0.95.
BY_HAND = np.array([[0.9, NAN, NAN], [0.95, 0.8, NAN], [0.5, 0.85, 0.7]])

matrices = st.integers(1, 6).flatmap(lambda t: arrays(np.float64, (t, t), elements=st.floats(0, 1, width=32)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("average_accuracy", (0.5 + 0.85 + 0.7) / 3),
        ("learning_accuracy", (0.9 + 0.8 + 0.7) / 3),
        ("forgetting", ((0.95 - 0.5) + (0.85 - 0.85)) / 2),
        ("bwt", ((0.5 - 0.9) + (0.85 - 0.8)) / 2),
        ("bwt_over_all", ((0.5 - 0.9) + (0.85 - 0.8) + 0) / 3),
        ("first_minus_last", ((0.9 - 0.5) + (0.8 - 0.85)) / 2),
    ],
)
def test_by_hand(name, value):
    assert CONTINUAL[name](BY_HAND) == pytest.approx(value, abs=1e-12)


def test_forward_transfer_by_hand():
    matrix = np.array([[0.9, 0.3, NAN], [0.9, 0.8, 0.4], [0.5, 0.8, 0.7]])
    assert fwt(matrix, [0.5, 0.1, 0.2]) == pytest.approx(((0.3 - 0.1) + (0.4 - 0.2)) / 2, abs=1e-12)
    assert fwt(np.array([[0.9]]), [0.1]) == 0.0


@pytest.mark.parametrize("untrained", [[0.1, 0.1], [0.1, 0.1, NAN]])
def test_forward_transfer_needs_every_task_before_it_is_trained(untrained):
    with pytest.raises(Refusal, match="forward transfer over 3 tasks needs a finite accuracy of each"):
        fwt(np.full((3, 3), 0.5), untrained)
    with pytest.raises(Refusal, match="forward transfer"):
        fwt(BY_HAND, [0.1, 0.1, 0.1])


def test_per_task_by_hand():
    np.testing.assert_allclose(forgetting_per_task(BY_HAND), [0.45, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(change_per_task(BY_HAND), [-0.4, 0.05, 0.0], atol=1e-12)


@pytest.mark.parametrize("case", [case for (case,) in vectors.keys("blip_metrics", "(.+)_acc")])
def test_blip_reports_these_numbers(case):
    arrays_ = vectors.arrays("blip_metrics")
    matrix = arrays_[f"{case}_acc"]
    np.testing.assert_allclose(average_accuracy(matrix), arrays_[f"{case}_ACC"], rtol=1e-5)
    np.testing.assert_allclose(bwt_over_all(matrix), arrays_[f"{case}_BWT"], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(CONTINUAL))
def test_one_task(name):
    expected = 0.75 if name.endswith("accuracy") else 0.0
    assert CONTINUAL[name](np.array([[0.75]])) == expected


@given(matrices)
@settings(max_examples=60)
def test_relations(matrix):
    tasks = len(matrix)
    assert forgetting(matrix) >= max(first_minus_last(matrix), 0.0) - 1e-12
    assert first_minus_last(matrix) == pytest.approx(-bwt(matrix), abs=1e-12)
    assert bwt_over_all(matrix) == pytest.approx(bwt(matrix) * (tasks - 1) / tasks, abs=1e-12)
    gained = average_accuracy(matrix) - learning_accuracy(matrix)
    assert gained == pytest.approx(bwt_over_all(matrix), abs=1e-12)


@given(matrices)
@settings(max_examples=30)
def test_tasks_to_come_are_not_read(matrix):
    lower = np.where(np.tri(len(matrix), dtype=bool), matrix, NAN)
    assert continual_metrics(lower) == continual_metrics(matrix)


@pytest.mark.parametrize("name", sorted(CONTINUAL))
def test_each_row_states_its_formula(name):
    assert "A[" in formula(name) and len(CONTINUAL[name].__doc__.splitlines()) > 1


@pytest.mark.parametrize(
    ("matrix", "line"),
    [
        (np.zeros((2, 3)), "the accuracy matrix has shape (2, 3); it must be (T, T) with T >= 1"),
        (np.zeros((0, 0)), "the accuracy matrix has shape (0, 0); it must be (T, T) with T >= 1"),
        (np.zeros(3), "the accuracy matrix has shape (3,); it must be (T, T) with T >= 1"),
        (
            np.array([[0.5, NAN], [NAN, 0.5]]),
            "the accuracy matrix holds nan after task 1 on task 0; it must be finite",
        ),
    ],
)
@pytest.mark.parametrize("name", sorted(CONTINUAL))
def test_refuses(name, matrix, line):
    with pytest.raises(Refusal) as refused:
        CONTINUAL[name](matrix)
    assert str(refused.value) == line
