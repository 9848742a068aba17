"""Accuracies by hand and the sums that make them independent of batching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.classify import (
    accuracy,
    balanced_accuracy,
    class_shares,
    confusion,
    mean_of_known,
    per_class_accuracy,
    shot_groups,
)

LOGITS = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0], [1.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
LABEL = jnp.array([0, 1, 0, 0, 1])  # predicted: 0, 1, 2, 0 (a tie goes to the lowest class), 2
WEIGHT = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])


def test_accuracy_by_hand():
    tally = accuracy(LOGITS, LABEL, WEIGHT)
    assert (float(tally.correct), float(tally.total)) == (3.0, 4.0)


def test_confusion_by_hand():
    np.testing.assert_array_equal(confusion(LOGITS, LABEL, WEIGHT), [[2, 0, 1], [0, 1, 0], [0, 0, 0]])


def test_per_class_and_balanced_by_hand():
    matrix = np.array([[2, 0, 1], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(per_class_accuracy(matrix), [2 / 3, 1.0, np.nan])
    assert balanced_accuracy(matrix) == pytest.approx((2 / 3 + 1) / 2)


def test_rare_class_counts_as_much_as_a_common_one():
    always_zero = np.array([[90, 0], [10, 0]])
    assert balanced_accuracy(always_zero) == 0.5


def test_no_example_has_no_accuracy():
    assert np.isnan(balanced_accuracy(np.zeros((3, 3))))


def test_class_shares_keep_their_leading_axes():
    shares = class_shares(np.array([[1, 0], [3, 2]]), np.array([[4, 0], [3, 8]]))
    np.testing.assert_array_equal(shares, [[0.25, np.nan], [1.0, 0.25]])


def test_mean_of_known_by_hand():
    assert mean_of_known(np.array([0.5, np.nan, 1.0])) == 0.75
    assert np.isnan(mean_of_known(np.array([np.nan]))) and np.isnan(mean_of_known(np.array([])))


PER_CLASS = np.array([0.9, 0.8, 0.6, 0.5, 0.3, np.nan, 0.1])
COUNTS = np.array([500, 101, 100, 20, 19, 5, 0])


def test_shot_groups_by_hand():
    groups = shot_groups(PER_CLASS, COUNTS)
    np.testing.assert_allclose(groups, [(0.9 + 0.8) / 2, (0.6 + 0.5) / 2, (0.3 + 0.1) / 2])
    assert groups._fields == ("many", "medium", "few")


def test_the_bounds_belong_to_the_middle():
    np.testing.assert_allclose(
        shot_groups(PER_CLASS, COUNTS, many=499, few=101), [0.9, 0.8, (0.6 + 0.5 + 0.3 + 0.1) / 4]
    )


def test_groups_without_examples_have_no_accuracy():
    np.testing.assert_array_equal(shot_groups(np.array([0.5, np.nan]), np.array([150, 3])), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(shot_groups(PER_CLASS[:2], COUNTS[:2], many=101, few=101), [0.9, 0.8, np.nan])


@pytest.mark.parametrize(("many", "few"), [(20, 21), (5, -1), (-2, -2)])
def test_bounds_that_overlap_are_refused(many, few):
    with pytest.raises(Refusal, match=f"many={many} and few={few} do not bound groups of classes; choose 0 <= few"):
        shot_groups(PER_CLASS, COUNTS, many, few)


@pytest.mark.parametrize("size", [1, 7, 20])
def test_batches_and_padding_change_nothing(size):
    keys = jax.random.split(jax.random.key(0))
    logits, label = jax.random.normal(keys[0], (20, 4)), jax.random.randint(keys[1], (20,), 0, 4)
    pad = -20 % size
    weight = jnp.pad(jnp.ones(20), (0, pad))
    padded, labels = jnp.pad(logits, ((0, pad), (0, 0))), jnp.pad(label, (0, pad))
    parts = [slice(start, start + size) for start in range(0, 20 + pad, size)]
    tallies = [accuracy(padded[part], labels[part], weight[part]) for part in parts]
    matrix = sum(np.asarray(confusion(padded[part], labels[part], weight[part])) for part in parts)
    expected = int(np.sum(np.argmax(np.asarray(logits), -1) == np.asarray(label)))
    assert sum(float(tally.correct) for tally in tallies) == expected == np.trace(matrix)
    assert sum(float(tally.total) for tally in tallies) == 20 == matrix.sum()


@pytest.mark.parametrize("function", [accuracy, confusion])
def test_jit_equals_eager(function):
    eager, jitted = function(LOGITS, LABEL, WEIGHT), jax.jit(function)(LOGITS, LABEL, WEIGHT)
    jax.tree.map(np.testing.assert_array_equal, jitted, eager)
