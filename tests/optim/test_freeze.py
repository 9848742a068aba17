"""Frozen weights: no gradient of their own, their codes' gradient for the scale, and codes that stay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.core.tree import map_named
from lifeq_jax.optim.freeze import Held, follow_codes, land_on_codes
from lifeq_jax.quant import QUANTIZERS, codes

LSQ = QUANTIZERS["lsq"]
TABLE = {"conv/kernel": LSQ(3)}
SHAPE = (3, 3, 2, 4)
FIXED = {  # their grid does not depend on the weights
    "lsq": LSQ(3),
    "lsq_8": LSQ(8, grad_scale=True),
    "lsq_per_channel": LSQ(4, per_channel=True),
    "lsq_asymmetric": LSQ(2, symmetric=False),
    "lsq_log": LSQ(4, log_scale=True, per_channel=True, symmetric=False),
    "dorefa": QUANTIZERS["dorefa"](3),
    "activation": QUANTIZERS["activation"](2),
}
MOVING = {
    "proxq": QUANTIZERS["proxq"](3),
    "proxq_2": QUANTIZERS["proxq"](2, range_=0.5),
    "proxq_open": QUANTIZERS["proxq"](4, levels="open"),
    "proxq_1": QUANTIZERS["proxq"](1),
    "minmax": QUANTIZERS["minmax"](4),
}


def layer(scale, *kernel):
    learned = {"scale": jnp.float32(scale), "low": jnp.float32(-4.0)}
    return {"conv": {"kernel": jnp.array([kernel]), "quantizer": learned}, "bias": jnp.array([1.0])}


def update_of(link, updates, params, held):
    return link.update(updates, link.init(params), params, method_state=held)[0]


def test_gradients_by_hand():
    # q = s c for the held weights: dL/ds = 2 * 10 + 0 * 30 more, and nothing for their latent values
    held = {"conv/kernel": Held(jnp.array([[2, 9, 0]]), jnp.array([[True, False, True]]))}
    grads = layer(7.0, 10.0, 20.0, 30.0)
    pulled = update_of(follow_codes(TABLE, lambda state: state), grads, layer(0.5, 1.0, 0.3, 0.0), held)
    np.testing.assert_array_equal(pulled["conv"]["kernel"], [[0.0, 20.0, 0.0]])
    np.testing.assert_allclose(pulled["conv"]["quantizer"]["scale"], 7.0 + 2 * 10.0, rtol=1e-6)
    np.testing.assert_array_equal(pulled["bias"], grads["bias"])


def test_landing_by_hand():
    # the scale goes from 0.5 to 0.6: the held weight of code 2 lands on 1.2, wherever its update pushed it
    held = {"conv/kernel": Held(jnp.array([[2, 9]]), jnp.array([[True, False]]))}
    params, updates = layer(0.5, 1.0, 0.3), layer(0.1, -3.0, 0.25)
    updates["conv"]["quantizer"]["low"] = jnp.zeros(())
    landed = update_of(land_on_codes(TABLE, lambda state: state), updates, params, held)
    np.testing.assert_allclose(landed["conv"]["kernel"], [[0.2, 0.25]], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, landed["conv"]["quantizer"], updates["conv"]["quantizer"])
    np.testing.assert_array_equal(landed["bias"], updates["bias"])


def test_a_kernel_that_cannot_land_keeps_its_place():
    # minmax: the largest weight is always on an outermost level, so all four cannot be inside
    table, kernel = {"kernel": QUANTIZERS["minmax"](3)}, jnp.array([[1.0, -0.4, 0.2, 0.1]])
    held = {"kernel": Held(jnp.full((1, 4), 3, jnp.int32), jnp.full((1, 4), True))}
    updates = {"kernel": jnp.full((1, 4), 0.3)}
    landed = update_of(land_on_codes(table, lambda state: state), updates, {"kernel": kernel}, held)
    np.testing.assert_array_equal(landed["kernel"], jnp.zeros((1, 4)))


def test_total_gradient_is_that_of_fixed_codes():
    """What the scale is told: the derivative of the loss as if the held weights were scale * code from the start."""
    quantizer = LSQ(3, grad_scale=True)
    table = {"conv/kernel": quantizer}
    kernel = 0.6 * jax.random.normal(jax.random.key(0), SHAPE)
    learned = quantizer.init(kernel)
    mask = jax.random.bernoulli(jax.random.key(1), 0.4, SHAPE)
    values = quantizer.codes(learned, kernel).values
    params = {"conv": {"kernel": quantizer.hold(learned, kernel, values, mask), "quantizer": learned}}
    target = jax.random.normal(jax.random.key(2), SHAPE)

    def loss(p):
        return jnp.sum(jnp.square(quantizer.apply(p["conv"]["quantizer"], p["conv"]["kernel"]) - target))

    def held_loss(p):
        state, weights = p["conv"]["quantizer"], p["conv"]["kernel"]
        factor = jax.lax.rsqrt(jnp.float32(kernel.size * 3))  # LSQ's, of 3 bits
        scale = state["scale"] * factor + jax.lax.stop_gradient(state["scale"] * (1 - factor))
        free = quantizer.apply(state, weights)
        return jnp.sum(jnp.square(jnp.where(mask, values * scale, free) - target))

    link = follow_codes(table, lambda state: state)
    pulled = update_of(link, jax.grad(loss)(params), params, {"conv/kernel": Held(values, mask)})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), pulled, jax.grad(held_loss)(params)
    )


def problem(quantizer, seed, share, size=0.7):
    """Parameters, a random update, codes to hold, and the table."""
    keys = jax.random.split(jax.random.key(seed), 4)
    kernel = size * jax.random.normal(keys[0], SHAPE)
    learned = quantizer.init(kernel)
    table = {"conv/kernel": quantizer}
    params = {"conv": {"kernel": kernel, "bias": jnp.ones(4), **({"quantizer": learned} if learned else {})}}

    def push(name, leaf):
        if name.endswith("/low"):  # never trained
            return jnp.zeros_like(leaf)
        noise = jax.random.normal(jax.random.fold_in(keys[1], len(name)), leaf.shape)
        return (0.1 if codes.is_learned(name) else 0.5) * noise * jnp.abs(leaf)

    updates = map_named(push, params)
    mask = jax.random.bernoulli(keys[2], share, SHAPE)
    # codes that the quantizer takes somewhere, not the present ones
    values = jax.random.permutation(keys[3], quantizer.codes(learned, kernel).values.reshape(-1)).reshape(SHAPE)
    return params, updates, Held(values, mask), table


@pytest.mark.parametrize("name", sorted(FIXED | MOVING))
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0]))
def test_held_codes_land_and_stay(name, seed, share):
    quantizer = (FIXED | MOVING)[name]
    params, updates, held, table = problem(quantizer, seed, share)
    link = land_on_codes(table, lambda state: state)
    for _ in range(2):  # onto the codes, then on from them
        landed = update_of(link, updates, params, {"conv/kernel": held})
        untouched = params["conv"]["kernel"] + updates["conv"]["kernel"]
        params = optax.apply_updates(params, landed)
        kernel = params["conv"]["kernel"]
        values = quantizer.codes(codes.learned_of(params, "conv/kernel"), kernel).values
        if name in MOVING and bool(jnp.all(landed["conv"]["kernel"] == 0)):
            continue  # no kernel with these codes was found, so this one stays where it is
        np.testing.assert_array_equal(values[held.mask], held.values[held.mask])
        np.testing.assert_array_equal(kernel[~held.mask], untouched[~held.mask])


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_fifth_of_a_kernel_can_be_held(name):
    quantizer = MOVING[name]
    params, updates, held, table = problem(quantizer, 1, 0.2)
    held = held._replace(values=quantizer.codes({}, params["conv"]["kernel"]).values)
    landed = update_of(land_on_codes(table, lambda state: state), updates, params, {"conv/kernel": held})
    assert bool(jnp.all(landed["conv"]["kernel"][~held.mask] == updates["conv"]["kernel"][~held.mask]))


@pytest.mark.parametrize("name", sorted(FIXED | MOVING))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_gradients_are_finite_and_compile(name, share):
    params, updates, held, table = problem((FIXED | MOVING)[name], 3, share)
    link = follow_codes(table, lambda state: state)
    state = {"conv/kernel": held}
    eager = update_of(link, updates, params, state)
    compiled = jax.jit(lambda u, p, h: update_of(link, u, p, h))(updates, params, state)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(compiled))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, compiled)
    np.testing.assert_array_equal(eager["conv"]["bias"], updates["conv"]["bias"])
    if name in FIXED:
        np.testing.assert_array_equal(eager["conv"]["kernel"], jnp.where(held.mask, 0, updates["conv"]["kernel"]))


def test_a_new_state_retraces_nothing():
    params, updates, held, table = problem(LSQ(3), 0, 0.5)
    link, traces = land_on_codes(table, lambda state: state), []

    @jax.jit
    def update(state):
        traces.append(1)
        return update_of(link, updates, params, state)

    update({"conv/kernel": held})
    update({"conv/kernel": held._replace(mask=~held.mask)})
    assert len(traces) == 1
