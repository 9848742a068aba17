"""The path integral by hand and of the claim."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.path import add_step, gains, no_score, squared_distance


def test_one_step_by_hand():
    points = ({"w": jnp.array(values)} for values in ([1.0, 1.0], [3.0, 0.0], [-0.5, 2.0]))
    info = StepInfo(*points, progress=jnp.ones(()))
    state = add_step(no_score(info.params), info)
    np.testing.assert_allclose(state.path["w"], [1.0, 2.0])
    np.testing.assert_array_equal(state.params["w"], [1.0, 1.0])


def test_the_path_adds_up_to_the_loss_that_training_removed():
    loss = lambda p: jnp.sum(jnp.array([1.0, 10.0, 0.0]) * jnp.square(p["w"] - 2.0))  # noqa: E731
    params = {"w": jnp.zeros(3)}
    start, state = loss(params), no_score(params)
    for _ in range(400):
        grads = jax.grad(loss)(params)
        new = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)
        state, params = add_step(state, StepInfo(params, new, grads, jnp.ones(()))), new
    np.testing.assert_allclose(jnp.sum(state.path["w"]), start - loss(params), rtol=0.02)
    assert float(state.path["w"][2]) == 0.0


def test_squared_distance_and_gains():
    moved = squared_distance({"w": jnp.array([1.0, 5.0])}, {"w": jnp.array([3.0, 5.0])})
    np.testing.assert_array_equal(moved["w"], [4.0, 0.0])
    path = {"w": jnp.array([-1.0, 2.0])}
    np.testing.assert_array_equal(gains(path, clamp=True)["w"], [0.0, 2.0])
    np.testing.assert_array_equal(gains(path, clamp=False)["w"], [-1.0, 2.0])
