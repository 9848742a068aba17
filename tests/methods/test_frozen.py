"""Frozen features: which leaves still learn, and when."""

import numpy as np

from lifeq_jax.methods.frozen import frozen
from lifeq_jax.methods.head import is_head
from tests.methods import toy


def test_only_the_head_learns_from_the_second_task_on():
    start = toy.init(outputs=4)
    first, count, _ = toy.train(frozen(), num_tasks=1, steps=5, outputs=4)
    assert int(count) == 0  # nothing is due after the last task
    second, count, _ = toy.train(frozen(), num_tasks=2, steps=5, outputs=4)
    assert int(count) == 1
    for name in ("kernel", "bias"):
        assert not np.array_equal(first["hidden"][name], start["hidden"][name])
        np.testing.assert_array_equal(second["hidden"][name], first["hidden"][name])
    for name, leaf in second["classifier"].items():
        np.testing.assert_array_equal(leaf[..., :2], first["classifier"][name][..., :2])
        assert not np.array_equal(leaf[..., 2:], first["classifier"][name][..., 2:])


def test_the_head_by_name():
    assert is_head("classifier/dense/kernel")
    assert not is_head("block/classifier/kernel")
