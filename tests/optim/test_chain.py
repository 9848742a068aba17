"""SGD by hand, and the order of the chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import Schedule, constant

RATE, DECAY = 0.1, 0.01
GRADS = [1.0, -2.0, 0.5]
NOTHING = optax.with_extra_args_support(optax.identity())


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
    np.testing.assert_allclose(run(sgd_by_progress(constant(RATE), momentum, DECAY)), torch_sgd(momentum), rtol=1e-6)


def torch_adam(decay=0.0):
    """torch.optim.Adam's documented recursion, in Python numbers."""
    p, m, v, path = 2.0, 0.0, 0.0, []
    for step, g in enumerate(GRADS, start=1):
        g += decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p -= RATE * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        path.append(p)
    return path


def test_adam_is_torchs():
    np.testing.assert_allclose(run(adam_by_progress(constant(RATE))), torch_adam(), rtol=1e-6)
    np.testing.assert_allclose(run(adam_by_progress(constant(RATE), weight_decay=0.7)), torch_adam(0.7), rtol=1e-6)


def test_adam_with_another_epsilon():
    # the first step is rate * g / (|g| + epsilon)
    np.testing.assert_allclose(
        run(adam_by_progress(constant(RATE), epsilon=0.5), [2.0]), [2.0 - RATE * 2.0 / 2.5], rtol=1e-6
    )


def test_rate_follows_progress():
    transform = sgd_by_progress(Schedule(0.1, lambda progress: 1 + 2 * progress), momentum=0.0)
    np.testing.assert_allclose(run(transform, [1.0, 1.0]), [1.9, 1.7], rtol=1e-6)


@pytest.mark.parametrize("kind", [sgd_by_progress, adam_by_progress])
def test_rates_are_data_of_the_step(kind):
    params = {"w": jnp.ones(2)}

    def lowered(rate):
        transform = kind(constant(rate))
        return jax.jit(transform.update).lower(params, transform.init(params), params, progress=0.5).as_text()

    assert lowered(0.1) == lowered(0.2)


def test_new_progress_retraces_nothing():
    transform, params, traces = sgd_by_progress(constant(RATE)), {"w": jnp.ones(2)}, []

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
    transform = method_chain(
        NOTHING, sgd_by_progress(constant(0.5), momentum=0.0), adam_by_progress(constant(0.5)), constraint
    )
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


PARAMS = {
    "conv": {"kernel": jnp.array([2.0]), "quantizer": {"scale": jnp.array(2.0), "low": jnp.array(2.0)}},
    "act": {"quantizer": {"scale": jnp.array(2.0)}},
    "norm": {"scale": jnp.array([2.0])},
}


def test_learned_state_takes_adam_and_everything_else_sgd():
    base, learned = sgd_by_progress(constant(RATE), 0.9, DECAY), adam_by_progress(constant(RATE))
    transform, params = method_chain(NOTHING, base, learned, NOTHING), PARAMS
    state = transform.init(params)
    for i, g in enumerate(GRADS):
        updates, state = transform.update(
            jax.tree.map(lambda leaf, g=g: jnp.full_like(leaf, g), params),
            state,
            params,
            progress=jnp.float32(i / 3),
            method_state=(),
            quantized=jax.tree.map(lambda _: False, params),
        )
        params = optax.apply_updates(params, updates)
    last = {True: torch_adam()[-1], False: torch_sgd(0.9)[-1]}
    for name, leaf in named_leaves(params).items():
        np.testing.assert_allclose(leaf, last["/quantizer/" in f"/{name}"], rtol=1e-6, err_msg=name)


def test_gradients_link_comes_before_momentum():
    halve = optax.with_extra_args_support(optax.scale(0.5))
    transform = method_chain(
        halve, sgd_by_progress(constant(RATE), 0.9, DECAY), adam_by_progress(constant(RATE)), NOTHING
    )
    np.testing.assert_allclose(run(transform, [2 * g for g in GRADS]), torch_sgd(0.9), rtol=1e-6)


def test_clipping_is_by_the_norm_of_all_leaves_before_weight_decay_and_momentum():
    double = optax.with_extra_args_support(optax.scale(2.0))
    transform = method_chain(
        double, sgd_by_progress(constant(RATE), 0.9, DECAY), sgd_by_progress(constant(RATE), 0.9), NOTHING, max_norm=2.5
    )
    params = {"w": jnp.array([2.0]), "quantizer": {"scale": jnp.array([1.0])}}
    p, q, b, c, state = 2.0, 1.0, 0.0, 0.0, transform.init(params)
    for g, h in ((3.0, 4.0), (0.3, 0.4), (0.0, -5.0)):  # norms 5, 0.5 and 5, twice as much behind the first link
        factor = 2 * min(1.0, 2.5 / (2 * (g**2 + h**2) ** 0.5))
        b, c = 0.9 * b + factor * g + DECAY * p, 0.9 * c + factor * h
        p, q = p - RATE * b, q - RATE * c
        gradient = {"w": jnp.array([g]), "quantizer": {"scale": jnp.array([h])}}
        updates, state = transform.update(gradient, state, params, progress=jnp.float32(0.0))
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose([params["w"][0], params["quantizer"]["scale"][0]], [p, q], rtol=1e-6)
