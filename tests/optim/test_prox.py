"""The proximal step by hand and by its closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.optim.prox import proximal_step, pull
from lifeq_jax.quant import QUANTIZERS

KERNEL = 0.3 + 0.1 * jax.random.normal(jax.random.key(0), (3, 3, 4, 5))


def spread(x):
    return float(jnp.std(x, ddof=1))


def test_by_hand():
    # mean 2, unbiased std 1: P(w) = (-1, 0, 1) * 2/4; (w + 3 P(w)) / 4
    np.testing.assert_allclose(pull(jnp.array([1.0, 2.0, 3.0]), 3.0), [-0.125, 0.5, 1.125], rtol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("range_", [0.5, 2.0])
def test_mean_and_spread_in_closed_form(strength, range_):
    landed = pull(KERNEL, strength, range_)
    np.testing.assert_allclose(jnp.mean(landed), jnp.mean(KERNEL) / (1 + strength), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(spread(landed), (spread(KERNEL) + strength * range_ / 4) / (1 + strength), rtol=1e-4)


@pytest.mark.parametrize("range_", [0.5, 2.0])
def test_infinite_strength_is_the_hard_normalization(range_):
    landed = pull(KERNEL, math.inf, range_)
    assert abs(float(jnp.mean(landed))) < 1e-5
    np.testing.assert_allclose(spread(landed), range_ / 4, rtol=1e-5)
    np.testing.assert_allclose(pull(KERNEL, 1e6, range_), landed, atol=1e-5)


def test_minimizes_the_proximal_objective():
    target = pull(KERNEL, math.inf)

    def objective(v):
        return jnp.sum(jnp.square(v - KERNEL)) + 0.7 * jnp.sum(jnp.square(v - target))

    np.testing.assert_allclose(jax.grad(objective)(pull(KERNEL, 0.7)), np.zeros(KERNEL.shape), atol=2e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_proxq_codes_stay(bits):
    quantizer = QUANTIZERS["proxq"](bits)
    before, after = quantizer.codes({}, KERNEL).values, quantizer.codes({}, pull(KERNEL, 0.5)).values
    assert float(jnp.mean(before == after)) >= 1 - 2 / KERNEL.size  # float rounding may move a tie


def test_lands_quantized_leaves_only():
    params = {"kernel": KERNEL, "bias": jnp.array([4.0])}
    updates = {"kernel": jnp.full(KERNEL.shape, 0.05), "bias": jnp.array([1.0])}
    transform = proximal_step(2.0)
    landed, _ = jax.jit(
        lambda u, p: transform.update(
            u, transform.init(p), p, quantized={"kernel": True, "bias": False}, method_state=()
        )
    )(updates, params)
    new = optax.apply_updates(params, landed)
    np.testing.assert_allclose(new["kernel"], pull(KERNEL + 0.05, 2.0), rtol=1e-5, atol=1e-6)
    assert new["bias"] == 5.0


def test_repeated_steps_reach_the_standard_space():
    params, transform = {"kernel": KERNEL}, proximal_step(0.1)
    state = transform.init(params)
    for _ in range(100):
        updates, state = transform.update(
            {"kernel": jnp.zeros(KERNEL.shape)}, state, params, quantized={"kernel": True}
        )
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(spread(params["kernel"]), 0.5, rtol=1e-3)
    assert abs(float(jnp.mean(params["kernel"]))) < 1e-3


@pytest.mark.parametrize("strength", [-0.1, float("nan")])
def test_refuses_a_strength_below_zero(strength):
    with pytest.raises(Refusal, match=f"strength={strength!r}"):
        proximal_step(strength)
