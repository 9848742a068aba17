"""SI: its path and score by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.si import si
from tests.methods import toy
from tests.methods.trainer import start
from tests.refusals import refused


def walk(method, first, path):
    """The state after one task that moves `first` along (new value, gradient) pairs."""
    state, old = method.init(start({"w": jnp.array(first)})), jnp.array(first)
    for new, grad in path:
        state = method.observe(state, StepInfo({"w": old}, {"w": jnp.array(new)}, {"w": jnp.array(grad)}, jnp.ones(())))
        old = jnp.array(new)
    return method.end_task(state, toy.task_end(0, toy.init())._replace(params={"w": old}))


def test_by_hand():
    # W = -(-2)(1) - (-1)(2) = 4; omega = 4 / (3^2 + 1), times the strength 2; penalty 0.8 * (5 - 3)^2
    method = si(strength=2.0, eps=1.0)
    state = walk(method, [0.0], [([1.0], [-2.0]), ([3.0], [-1.0])])
    np.testing.assert_allclose(state.score["w"], [0.8], rtol=1e-6)
    np.testing.assert_allclose(method.penalty(state, {"w": jnp.array([5.0])}, ()), 3.2, rtol=1e-6)
    np.testing.assert_array_equal(state.path["w"], [0.0])


def test_clamp_drops_parameters_that_raised_the_loss():
    path = [([1.0, 1.0], [2.0, -2.0])]
    kept, dropped = walk(si(eps=1.0, clamp=False), [0.0, 0.0], path), walk(si(eps=1.0), [0.0, 0.0], path)
    np.testing.assert_allclose(kept.score["w"], [-1.0, 1.0])
    np.testing.assert_allclose(dropped.score["w"], [0.0, 1.0])


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
def test_refuses_eps_that_could_divide_by_zero(eps):
    assert refused(si, eps=eps) == f"method.args.eps={eps!r} is not a finite number above 0"
