"""Outputs of a head per task."""

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.heads import head_masks, heads_of, to_outputs
from lifeq_jax.data.tables import table_of

TABLES = [table_of(["a", "b", "c"], [3, 0, 3]), table_of(["d", "e", "f"], [1, 3, 2])]


def test_every_class_of_every_task_has_an_output_of_its_own():
    heads = heads_of(TABLES, 5)
    np.testing.assert_array_equal(heads, [[0, -1, -1, 1, -1], [-1, 2, 3, 4, -1]])
    np.testing.assert_array_equal(head_masks(heads), [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(to_outputs(heads, 0, TABLES[0], "x").label, [1, 0, 1])
    np.testing.assert_array_equal(to_outputs(heads, 1, TABLES[1], "x").label, [2, 4, 3])


def test_another_number_of_outputs_is_refused():
    with pytest.raises(
        Refusal, match=r"data.num_classes=6 is not the number of outputs of all heads, 5: the tasks have 2, 3"
    ):
        heads_of(TABLES, 6)


def test_a_class_that_was_not_trained_is_refused():
    heads = heads_of(TABLES, 5)
    with pytest.raises(Refusal, match=r"test.csv: class 1 of task 0 is not among its training classes"):
        to_outputs(heads, 0, table_of(["g"], [1]), "test.csv")
