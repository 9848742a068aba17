import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.hold import Levels, hold_scaled, hold_signs, hold_standardized

TWO_BITS = Levels(4 / 3, 1.5, 0, 3)  # levels at -2, -2/3, 2/3 and 2 deviations
hold_two_bits = jax.jit(functools.partial(hold_standardized, levels=TWO_BITS))
hold_two_bits_scaled = jax.jit(functools.partial(hold_scaled, steps=3))


def standardized(x):
    return (np.asarray(x) - np.mean(x)) / np.std(x, ddof=1)


def test_held_weights_stand_on_their_levels_of_the_whole_tensor():
    x = np.float32(np.random.default_rng(0).normal(0.3, 0.1, 200))
    values = np.random.default_rng(1).integers(0, 4, 200)
    held = np.asarray(hold_two_bits(x, values, np.arange(200) < 40))
    np.testing.assert_allclose(standardized(held)[:40], (values[:40] - 1.5) * 4 / 3, rtol=1e-4)
    np.testing.assert_array_equal(held[40:], x[40:])


def test_held_weight_by_hand():
    # Free -1, 0, 1, 2: mean 1/2, squared deviations 5; one held at 2/3: 5 / (4 - 4/9 - 1/9) is s^2, 1/2 + s/6 is m.
    held = np.asarray(hold_two_bits(np.float32([-1.0, 0.0, 1.0, 2.0, 9.0]), np.full(5, 2), np.arange(5) == 4))
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
    x, mask = np.arange(8, dtype=np.float32), np.arange(8) > 1
    values = np.full(8, 3)  # six of eight entries 4/3 deviations and more above the mean: 6 * 16 / 9 > 7
    np.testing.assert_array_equal(hold_two_bits(x, values, mask), x)
    one_free = np.arange(8) > 0
    np.testing.assert_array_equal(hold_two_bits(x, np.arange(8) // 2, one_free), x)


def test_gradient_through_mean_and_deviation_is_the_numeric_one():
    x = np.float32(np.random.default_rng(0).normal(0.3, 1.0, 12))
    values, mask = np.array([0, 1, 2, 3] * 3), np.arange(12) < 4
    weights = np.float32(np.random.default_rng(1).normal(size=12))

    def total(a):
        return jnp.sum(weights * hold_standardized(a, values, mask, TWO_BITS))

    value_and_grad = jax.jit(jax.value_and_grad(total))
    found, moves = value_and_grad(x)[1], np.eye(12, dtype=np.float32) * 1e-2
    numeric = [(value_and_grad(x + move)[0] - value_and_grad(x - move)[0]) / (2 * 1e-2) for move in moves]
    np.testing.assert_allclose(found, numeric, atol=2e-3)
    np.testing.assert_array_equal(found[:4], 0)


def test_signs_by_hand():
    x = np.float32([-2.0, 0.0, 3.0, -4.0])
    mask = np.array([True, True, True, False])
    held = jax.jit(hold_signs)(x, np.float32([0.5, -0.5, 0.0, 0.5]), mask)
    np.testing.assert_array_equal(held, np.array([2, -np.finfo(np.float32).tiny, 0, -4], np.float32))


def test_scaled_by_hand():
    x = np.float32([-3.0, 1.0, 0.5, 2.0])
    # Held inside, the largest magnitude gives way to that of the free ones, 2: levels -2, -2/3, 2/3, 2.
    found = hold_two_bits_scaled(x, np.array([1, 0, 0, 0]), np.array([True, False, False, False]))
    np.testing.assert_allclose(found, [-2 / 3, 1, 0.5, 2], rtol=1e-6)
    # Held outside, it keeps the grid alive: levels -3, -1, 1, 3.
    found = hold_two_bits_scaled(x, np.array([0, 2, 1, 2]), np.array([True, True, True, False]))
    np.testing.assert_allclose(found, [-3, 1, -1, 2], rtol=1e-6)
    # All inside: no such tensor, for the largest magnitude is always on an outermost level.
    np.testing.assert_array_equal(hold_two_bits_scaled(x, np.full(4, 1), np.ones(4, bool)), x)


def test_scaled_zeros_held_outside_get_a_range():
    found = hold_two_bits_scaled(np.zeros(3, np.float32), np.array([0, 1, 3]), np.ones(3, bool))
    np.testing.assert_array_equal(jax.jit(QUANTIZERS["minmax"](2).codes)({}, found).values, [0, 1, 3])
