"""SI along the original's recorded path, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.penalty import distance
from lifeq_jax.methods.si import si
from tests.methods import recorded, toy
from tests.methods.trainer import start


def test_golden(golden):
    arrays = golden("lq_importance")
    method, params = si(strength=1.0, clamp=False), recorded.tree(arrays, "p_old")
    state = method.init(start(params))
    for task in (0, 1):
        infos, params = recorded.steps(arrays, task, params)
        assert len(infos) == (4, 2)[task]
        for info in infos:
            state = method.observe(state, info)
        if task == 0:
            recorded.close(state.path, recorded.tree(arrays, "si/task0/W"))
        state = method.end_task(state, recorded.task_end(arrays, params, task))
        recorded.close(state.score, recorded.tree(arrays, f"si/task{task + 1}/omega"))
        recorded.close(state.params, recorded.tree(arrays, f"si/task{task + 1}/p_prev"))
        scale = distance(jax.tree.map(jnp.abs, state.score), state.params, recorded.tree(arrays, "p_new"))
        recorded.check_penalty(method, state, arrays, f"si/task{task + 1}", scale=float(scale))


def test_original_never_acts_because_it_sees_no_step(golden):
    arrays = golden("lq_importance")
    method, params = si(), recorded.tree(arrays, "p_old")
    state = method.end_task(method.init(start(params)), recorded.task_end(arrays, params))
    new = recorded.tree(arrays, "p_new")
    assert float(method.penalty(state, new, new)) == float(arrays["mlp/si_as_in_main/penalty"]) == 0.0


def walk(method, first, path):
    """The state after one task that moves `first` along (new value, gradient) pairs."""
    state, old = method.init(start({"w": jnp.array(first)})), jnp.array(first)
    for new, grad in path:
        state = method.observe(state, StepInfo({"w": old}, {"w": jnp.array(new)}, {"w": jnp.array(grad)}, jnp.ones(())))
        old = jnp.array(new)
    return method.end_task(state, toy.task_end(0, toy.init())._replace(params={"w": old}))


def test_by_hand():
    # W = -(-2)(1) - (-1)(2) = 4; omega = 4 / (3^2 + 1); penalty 2 * 0.4 * (5 - 3)^2
    method = si(strength=2.0, eps=1.0)
    state = walk(method, [0.0], [([1.0], [-2.0]), ([3.0], [-1.0])])
    np.testing.assert_allclose(state.score["w"], [0.4], rtol=1e-6)
    np.testing.assert_allclose(method.penalty(state, {"w": jnp.array([5.0])}, ()), 3.2, rtol=1e-6)
    np.testing.assert_array_equal(state.path["w"], [0.0])


def test_clamp_drops_parameters_that_raised_the_loss():
    path = [([1.0, 1.0], [2.0, -2.0])]
    kept, dropped = walk(si(eps=1.0, clamp=False), [0.0, 0.0], path), walk(si(eps=1.0), [0.0, 0.0], path)
    np.testing.assert_allclose(kept.score["w"], [-1.0, 1.0])
    np.testing.assert_allclose(dropped.score["w"], [0.0, 1.0])


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
def test_refuses_eps_that_could_divide_by_zero(eps):
    with pytest.raises(Refusal) as refused:
        si(eps=eps)
    assert str(refused.value) == f"method.args.eps={eps!r} is not a finite number above 0"
