"""IMM by modes: the merge by hand, what no Fisher has seen, and where training ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.imm import imm
from tests.methods import recorded, toy
from tests.methods.trainer import start
from tests.refusals import refused


def test_merge_by_hand():
    first, second = toy.init(1), toy.init(2)
    method = imm()
    one = method.end_task(method.init(start(first)), toy.task_end(0, first))
    jax.tree.map(np.testing.assert_array_equal, one.merged.params, first)
    alone = method.end_task(method.init(start(first)), toy.task_end(1, second))
    both = method.end_task(one, toy.task_end(1, second))

    def mode(f, p, g, q):
        seen = f + g > 0
        return jnp.where(seen, (f * p + g * q) / jnp.where(seen, f + g, 1.0), q)

    expected = jax.tree.map(mode, one.merged.importance, first, alone.merged.importance, second)
    recorded.close(method.settle(both, second), expected)
    assert not np.allclose(expected["hidden"]["kernel"], second["hidden"]["kernel"])


@pytest.mark.parametrize(("unseen", "share"), [("newest", 1.0), ("zero", 0.0)])
def test_heads_of_later_tasks(unseen, share):
    params, method = toy.init(outputs=4), imm(unseen=unseen)
    state = method.end_task(method.init(start(params)), toy.task_end(0, params))
    merged, new = method.settle(state, params)["classifier"]["kernel"], params["classifier"]["kernel"]
    np.testing.assert_array_equal(merged[:, 2:], share * new[:, 2:])
    assert bool(jnp.any(merged[:, :2] == new[:, :2]))


def test_penalty_by_hand():
    params, method = toy.init(), imm(strength=3.0)
    state = method.end_task(method.init(start(params)), toy.task_end(0, params))
    away = jax.tree.map(lambda p: p + 0.5, params)  # 82 parameters
    np.testing.assert_allclose(method.penalty(state, away, away), 1.5 * 82 * 0.25, rtol=1e-5)


def test_training_ends_with_the_merged_parameters_after_the_last_task_too():
    params, state, _ = toy.train(imm(strength=3.0), steps=5)
    assert float(state.stiffness) == 1.5
    jax.tree.map(np.testing.assert_array_equal, params, state.merged.params)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"strength": -1.0}, "method.args.strength=-1.0 is not a finite number from 0 on"),
        ({"unseen": "mean"}, "method.args.unseen='mean' is unknown; choose from newest, zero"),
    ],
)
def test_refusals(arguments, line):
    assert refused(imm, **arguments) == line
