"""Frozen weights: no gradient of their own, their codes' gradient for the scale, and codes that stay."""

from functools import cache, partial

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
    learned = {"scale": np.float32(scale), "low": np.float32(-4.0)}
    return {"conv": {"kernel": np.float32([kernel]), "quantizer": learned}, "bias": np.float32([1.0])}


def update_of(link, updates, params, held):
    return link.update(updates, link.init(params), params, method_state=held)[0]


compiled_update = jax.jit(update_of, static_argnums=0)


@cache
def link_of(make, quantizer):
    return make({"conv/kernel": quantizer}, lambda state: state)


@partial(jax.jit, static_argnums=0)
def codes_of(quantizer, learned, kernel):
    return quantizer.codes(learned, kernel).values


@partial(jax.jit, static_argnums=0)
def learned_and_codes(quantizer, kernel):
    learned = quantizer.init(kernel)
    return learned, quantizer.codes(learned, kernel).values


def test_gradients_by_hand():
    # q = s c for the held weights: dL/ds = 2 * 10 + 0 * 30 more, and nothing for their latent values
    held = {"conv/kernel": Held(np.array([[2, 9, 0]]), np.array([[True, False, True]]))}
    grads = layer(7.0, 10.0, 20.0, 30.0)
    pulled = compiled_update(follow_codes(TABLE, lambda state: state), grads, layer(0.5, 1.0, 0.3, 0.0), held)
    np.testing.assert_array_equal(pulled["conv"]["kernel"], [[0.0, 20.0, 0.0]])
    np.testing.assert_allclose(pulled["conv"]["quantizer"]["scale"], 7.0 + 2 * 10.0, rtol=1e-6)
    np.testing.assert_array_equal(pulled["bias"], grads["bias"])


def test_landing_by_hand():
    # the scale goes from 0.5 to 0.6: the held weight of code 2 lands on 1.2, wherever its update pushed it
    held = {"conv/kernel": Held(np.array([[2, 9]]), np.array([[True, False]]))}
    params, updates = layer(0.5, 1.0, 0.3), layer(0.1, -3.0, 0.25)
    updates["conv"]["quantizer"]["low"] = np.float32(0)
    landed = compiled_update(land_on_codes(TABLE, lambda state: state), updates, params, held)
    np.testing.assert_allclose(landed["conv"]["kernel"], [[0.2, 0.25]], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, landed["conv"]["quantizer"], updates["conv"]["quantizer"])
    np.testing.assert_array_equal(landed["bias"], updates["bias"])


def test_a_kernel_that_cannot_land_keeps_its_place():
    # minmax: the largest weight is always on an outermost level, so all four cannot be inside
    table, kernel = {"kernel": QUANTIZERS["minmax"](3)}, np.float32([[1.0, -0.4, 0.2, 0.1]])
    held = {"kernel": Held(np.full((1, 4), 3, np.int32), np.full((1, 4), True))}
    updates = {"kernel": np.full((1, 4), 0.3, np.float32)}
    landed = compiled_update(land_on_codes(table, lambda state: state), updates, {"kernel": kernel}, held)
    np.testing.assert_array_equal(landed["kernel"], np.zeros((1, 4)))


def test_total_gradient_is_that_of_fixed_codes():
    """What the scale is told: the derivative of the loss as if the held weights were scale * code from the start."""
    quantizer = LSQ(3, grad_scale=True)
    draw = np.random.default_rng(0)
    kernel, target, mask = np.float32(draw.normal(0, 0.6, SHAPE)), draw.normal(size=SHAPE), draw.random(SHAPE) < 0.4
    learned, values = learned_and_codes(quantizer, kernel)
    params = {"conv": {"kernel": jax.jit(quantizer.hold)(learned, kernel, values, mask), "quantizer": learned}}

    def loss(p):
        return jnp.sum(jnp.square(quantizer.apply(p["conv"]["quantizer"], p["conv"]["kernel"]) - target))

    def held_loss(p):
        state, weights = p["conv"]["quantizer"], p["conv"]["kernel"]
        factor = jax.lax.rsqrt(jnp.float32(kernel.size * 3))  # LSQ's, of 3 bits
        scale = state["scale"] * factor + jax.lax.stop_gradient(state["scale"] * (1 - factor))
        free = quantizer.apply(state, weights)
        return jnp.sum(jnp.square(jnp.where(mask, values * scale, free) - target))

    gradient, expected = (jax.jit(jax.grad(function))(params) for function in (loss, held_loss))
    held = {"conv/kernel": Held(values, mask)}
    pulled = compiled_update(link_of(follow_codes, quantizer), gradient, params, held)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), pulled, expected)


def problem(quantizer, seed, share, size=0.7):
    """Parameters, a random update, and codes to hold."""
    draw = np.random.default_rng(seed)
    kernel = np.float32(draw.normal(0, size, SHAPE))
    learned, values = jax.device_get(learned_and_codes(quantizer, kernel))
    learned = {"quantizer": learned} if learned else {}
    params = {"conv": {"kernel": kernel, "bias": np.ones(4, np.float32), **learned}}

    def push(name, leaf):
        if name.endswith("/low"):  # never trained
            return np.zeros_like(leaf)
        return np.float32((0.1 if codes.is_learned(name) else 0.5) * draw.normal(size=leaf.shape) * np.abs(leaf))

    updates = map_named(push, params)
    # codes that the quantizer takes somewhere, not the present ones
    return params, updates, Held(draw.permutation(values.ravel()).reshape(SHAPE), draw.random(SHAPE) < share)


@pytest.mark.parametrize("name", sorted(FIXED | MOVING))
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0]))
def test_held_codes_land_and_stay(name, seed, share):
    quantizer = (FIXED | MOVING)[name]
    params, updates, held = problem(quantizer, seed, share)
    link = link_of(land_on_codes, quantizer)
    for _ in range(2):  # onto the codes, then on from them
        landed = jax.device_get(compiled_update(link, updates, params, {"conv/kernel": held}))
        untouched = params["conv"]["kernel"] + updates["conv"]["kernel"]
        params = jax.device_get(optax.apply_updates(params, landed))
        kernel = params["conv"]["kernel"]
        values = np.asarray(codes_of(quantizer, codes.learned_of(params, "conv/kernel"), kernel))
        if name in MOVING and np.all(landed["conv"]["kernel"] == 0):
            continue  # no kernel with these codes was found, so this one stays where it is
        np.testing.assert_array_equal(values[held.mask], held.values[held.mask])
        np.testing.assert_array_equal(kernel[~held.mask], untouched[~held.mask])


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_fifth_of_a_kernel_can_be_held(name):
    quantizer = MOVING[name]
    params, updates, held = problem(quantizer, 1, 0.2)
    held = held._replace(values=codes_of(quantizer, {}, params["conv"]["kernel"]))
    landed = compiled_update(link_of(land_on_codes, quantizer), updates, params, {"conv/kernel": held})
    assert np.all((landed["conv"]["kernel"] == updates["conv"]["kernel"])[~held.mask])


@pytest.mark.parametrize("name", sorted(FIXED | MOVING))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_gradients_are_finite_and_compile(name, share):
    quantizer = (FIXED | MOVING)[name]
    params, updates, held = problem(quantizer, 3, share)
    given = link_of(follow_codes, quantizer), updates, params, {"conv/kernel": held}
    eager, found = update_of(*given), compiled_update(*given)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, found)
    np.testing.assert_array_equal(eager["conv"]["bias"], updates["conv"]["bias"])
    if name in FIXED:
        np.testing.assert_array_equal(eager["conv"]["kernel"], np.where(held.mask, 0, updates["conv"]["kernel"]))


def test_a_new_state_retraces_nothing():
    params, updates, held = problem(LSQ(3), 0, 0.5)
    link, traces = land_on_codes(TABLE, lambda state: state), []

    @jax.jit
    def update(state):
        traces.append(1)
        return update_of(link, updates, params, state)

    update({"conv/kernel": held})
    update({"conv/kernel": held._replace(mask=~held.mask)})
    assert len(traces) == 1
