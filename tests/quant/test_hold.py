import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.hold import Levels, hold_scaled, hold_signs, hold_standardized

TWO_BITS = Levels(4 / 3, 1.5, 0, 3)  # levels at -2, -2/3, 2/3 and 2 deviations


def standardized(x):
    return (np.asarray(x) - np.mean(x)) / np.std(x, ddof=1)


def test_held_weights_stand_on_their_levels_of_the_whole_tensor():
    x = jnp.asarray(np.random.default_rng(0).normal(0.3, 0.1, 200), jnp.float32)
    values = jnp.asarray(np.random.default_rng(1).integers(0, 4, 200))
    mask = jnp.arange(200) < 40
    held = hold_standardized(x, values, mask, TWO_BITS)
    np.testing.assert_allclose(standardized(held)[:40], (np.asarray(values[:40]) - 1.5) * 4 / 3, rtol=1e-4)
    np.testing.assert_array_equal(held[40:], x[40:])


def test_held_weight_by_hand():
    # Free -1, 0, 1, 2: mean 1/2, squared deviations 5; one held at 2/3: 5 / (4 - 4/9 - 1/9) is s^2, 1/2 + s/6 is m.
    x, mask = jnp.array([-1.0, 0.0, 1.0, 2.0, 9.0]), jnp.arange(5) == 4
    held = hold_standardized(x, jnp.full(5, 2), mask, TWO_BITS)
    s = np.sqrt(5 / (4 - 5 / 9))
    np.testing.assert_allclose(held[4], 0.5 + s / 6 + s * 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(standardized(held)[4], 2 / 3, rtol=1e-5)


@functools.cache
def compiled(bits, levels):
    quantizer = QUANTIZERS["proxq"](bits, levels=levels)
    return jax.jit(quantizer.codes), jax.jit(quantizer.hold)


@pytest.mark.parametrize("free", [2, 3, 10])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("levels", ["exact", "open"])
def test_nearly_all_held(free, bits, levels):
    """Levels alone leave the few free entries no room; the held ones move inside of their steps."""
    codes, hold = compiled(bits, levels)
    for seed in range(10):
        draw = np.random.default_rng(seed)
        x = draw.normal(0.1, 0.2, 64).astype(np.float32)
        values, mask = np.asarray(codes({}, x).values), np.arange(64) >= free
        x[:free] += draw.normal(0, 0.3, free)
        held = np.asarray(hold({}, x, values, mask))
        np.testing.assert_array_equal(codes({}, held).values[free:], values[free:])
        if bits < 4:  # coarse steps leave room to move: the deviation is at most twice that of the free entries
            assert np.std(held, ddof=1) <= 2.01 * np.std(held[:free])


def test_codes_that_no_tensor_has_leave_it_as_it_is():
    x, mask = jnp.arange(8.0), jnp.arange(8) > 1
    values = jnp.full(8, 3)  # six of eight entries 4/3 deviations and more above the mean: 6 * 16 / 9 > 7
    np.testing.assert_array_equal(hold_standardized(x, values, mask, TWO_BITS), x)
    one_free = jnp.arange(8) > 0
    np.testing.assert_array_equal(hold_standardized(x, jnp.arange(8) // 2, one_free, TWO_BITS), x)


def test_gradient_through_mean_and_deviation_is_the_numeric_one():
    x = jnp.asarray(np.random.default_rng(0).normal(0.3, 1.0, 12), jnp.float32)
    values, mask = jnp.asarray([0, 1, 2, 3] * 3), jnp.arange(12) < 4
    weights = jnp.asarray(np.random.default_rng(1).normal(size=12), jnp.float32)

    def total(a):
        return jnp.sum(weights * hold_standardized(a, values, mask, TWO_BITS))

    found, e = jax.grad(total)(x), 1e-2
    numeric = [(total(x.at[i].add(e)) - total(x.at[i].add(-e))) / (2 * e) for i in range(12)]
    np.testing.assert_allclose(found, numeric, atol=2e-3)
    np.testing.assert_array_equal(found[:4], 0)


def test_signs_by_hand():
    x = jnp.array([-2.0, 0.0, 3.0, -4.0])
    mask = jnp.array([True, True, True, False])
    held = hold_signs(x, jnp.array([0.5, -0.5, 0.0, 0.5]), mask)
    np.testing.assert_array_equal(held, np.array([2, -np.finfo(np.float32).tiny, 0, -4], np.float32))


def test_scaled_by_hand():
    x = jnp.array([-3.0, 1.0, 0.5, 2.0])
    # Held inside, the largest magnitude gives way to that of the free ones, 2: levels -2, -2/3, 2/3, 2.
    found = hold_scaled(x, jnp.array([1, 0, 0, 0]), jnp.array([True, False, False, False]), 3)
    np.testing.assert_allclose(found, [-2 / 3, 1, 0.5, 2], rtol=1e-6)
    # Held outside, it keeps the grid alive: levels -3, -1, 1, 3.
    found = hold_scaled(x, jnp.array([0, 2, 1, 2]), jnp.array([True, True, True, False]), 3)
    np.testing.assert_allclose(found, [-3, 1, -1, 2], rtol=1e-6)
    # All inside: no such tensor, for the largest magnitude is always on an outermost level.
    np.testing.assert_array_equal(hold_scaled(x, jnp.full(4, 1), jnp.ones(4, bool), 3), x)


def test_scaled_zeros_held_outside_get_a_range():
    found = hold_scaled(jnp.zeros(3), jnp.array([0, 1, 3]), jnp.ones(3, bool), 3)
    np.testing.assert_array_equal(QUANTIZERS["minmax"](2).codes({}, found).values, [0, 1, 3])
