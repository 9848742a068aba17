"""RWalk: its moving average and its score by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.ewc import ewc
from lifeq_jax.methods.rwalk import rwalk
from tests.methods import recorded, toy
from tests.methods.trainer import start
from tests.refusals import refused


def test_fisher_is_a_moving_average_over_loaders():
    params = toy.init()
    fishers = []
    for task in (0, 1):
        method = ewc(strength=1.0, fisher="batch")
        fishers.append(method.end_task(method.init(start(params)), toy.task_end(task, params)).importance)
    method = rwalk(decay=0.75)
    state = method.end_task(method.init(start(params)), toy.task_end(1, params))
    # each loader holds half of all batches
    expected = jax.tree.map(lambda a, b: 0.75 * 0.25 * a / 2 + 0.25 * b / 2, *fishers)
    recorded.close(state.fisher, expected)


def test_score_halves_at_every_task():
    params = toy.init()
    moved = jax.tree.map(lambda p: p + 0.1, params)
    method = rwalk()
    grads = jax.tree.map(lambda p: -jnp.ones_like(p), params)
    state = method.observe(method.init(start(params)), StepInfo(params, moved, grads, jnp.ones(())))
    first = method.end_task(state, toy.task_end(0, moved))
    second = method.end_task(first, toy.task_end(1, moved))
    assert float(jnp.min(first.score["hidden"]["kernel"])) > 0
    recorded.close(second.score, jax.tree.map(lambda o: 0.5 * o, first.score))


def test_score_by_hand_where_the_fisher_is_zero():
    # all rows of a dead unit: W = 1 * 0.1, omega = 0.5 * 0.1 / eps
    params = toy.init()
    moved = jax.tree.map(lambda p: p + 0.1, params)
    method = rwalk(eps=0.2)
    grads = jax.tree.map(lambda p: -jnp.ones_like(p), params)
    state = method.observe(method.init(start(params)), StepInfo(params, moved, grads, jnp.ones(())))
    dead = {**moved, "hidden": {**moved["hidden"], "bias": jnp.full(toy.HIDDEN, -100.0)}}
    score = method.end_task(state, toy.task_end(0, dead)).score
    np.testing.assert_allclose(score["hidden"]["kernel"], np.full((2, toy.HIDDEN), 0.25), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"eps": 0.0}, "method.args.eps=0.0 is not a finite number above 0"),
        ({"decay": -0.1}, "method.args.decay=-0.1 is not a number from 0 to 1"),
    ],
)
def test_refusals(arguments, line):
    assert refused(rwalk, **arguments) == line
