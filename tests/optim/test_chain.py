"""SGD by hand, and the order of the chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.optim.chain import chain, sgd
from lifeq_jax.optim.schedules import constant

RATE, DECAY = 0.1, 0.01
GRADS = [1.0, -2.0, 0.5]


def run(transform, grads=GRADS, start=2.0):
    """The parameter after each gradient."""
    params = {"w": jnp.array([start])}
    state, path = transform.init(params), []
    for i, g in enumerate(grads):
        progress = jnp.float32(i / len(grads))
        updates, state = transform.update({"w": jnp.array([g])}, state, params, progress=progress)
        params = optax.apply_updates(params, updates)
        path.append(float(params["w"][0]))
    return path


def torch_sgd(momentum):
    """torch.optim.SGD's documented recursion, in Python numbers."""
    p, b, path = 2.0, 0.0, []
    for g in GRADS:
        b = momentum * b + g + DECAY * p
        p -= RATE * b
        path.append(p)
    return path


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(momentum):
    np.testing.assert_allclose(run(sgd(constant(RATE), momentum, DECAY)), torch_sgd(momentum), rtol=1e-6)


def test_rate_follows_progress():
    transform = sgd(lambda progress: 0.1 * (1 + 2 * progress), momentum=0.0)
    np.testing.assert_allclose(run(transform, [1.0, 1.0]), [1.9, 1.7], rtol=1e-6)


def test_new_progress_retraces_nothing():
    transform, params, traces = sgd(constant(RATE)), {"w": jnp.ones(2)}, []

    @jax.jit
    def update(state, progress):
        traces.append(progress)
        return transform.update(params, state, params, progress=progress)[1]

    state = update(transform.init(params), jnp.float32(0.1))
    update(state, jnp.float32(0.2))
    assert len(traces) == 1


def test_constraint_sees_the_finished_update_and_the_extra_arguments():
    seen = {}

    def land(updates, state, params=None, *, method_state, quantized, **_):
        seen.update(updates=updates, method_state=method_state, quantized=quantized)
        return jax.tree.map(jnp.zeros_like, updates), state

    constraint = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), land)
    transform = chain(sgd(constant(0.5), momentum=0.0), constraint)
    params = {"w": jnp.ones(2)}
    updates, _ = transform.update(
        {"w": jnp.full(2, 2.0)},
        transform.init(params),
        params,
        progress=jnp.float32(0.0),
        method_state="state",
        quantized={"w": True},
    )
    np.testing.assert_array_equal(seen["updates"]["w"], [-1.0, -1.0])
    assert (seen["method_state"], seen["quantized"]) == ("state", {"w": True})
    np.testing.assert_array_equal(updates["w"], [0.0, 0.0])
