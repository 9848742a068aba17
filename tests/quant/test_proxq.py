import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant.proxq import proxq, standardize
from tests.quant.pullback import value_and_vjp
from tests.refusals import refused


def normal(size, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0.3, 0.1, size), jnp.float32)


def test_standardize_by_hand():  # mean 2, unbiased variance (4 + 0 + 4) / 2 = 4
    np.testing.assert_allclose(standardize(jnp.array([0.0, 2.0, 4.0]), 2.0), [-0.5, 0, 0.5])


@pytest.mark.parametrize("shape", [(1,), (3, 2)])
def test_constant_tensor_becomes_zero_with_finite_gradient(shape):
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(standardize(x)))(jnp.full(shape, 0.7))
    assert value == 0
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("bits", range(1, 9))
def test_exact_takes_exactly_two_to_the_bits_levels(bits):
    found = proxq(bits).codes({}, normal(20_000))
    np.testing.assert_array_equal(np.unique(found.values), np.arange(2**bits))


@pytest.mark.parametrize("range_", [0.5, 2.0])
@pytest.mark.parametrize("bits", range(2, 9))
def test_exact_levels_reach_both_ends(bits, range_):
    y = proxq(bits, range_=range_).apply({}, normal(20_000))
    levels = np.linspace(-range_ / 2, range_ / 2, 2**bits)
    np.testing.assert_allclose(np.unique(y), levels, rtol=1e-5, atol=1e-7)


def test_exact_by_hand():
    # Mean 0, variance 74 / 3: xn = x / 9.933 = -0.604, -0.101, 0.101, 0.604, to the nearest of -1, -1/3, 1/3, 1.
    x = jnp.array([-6.0, -1.0, 1.0, 6.0])
    np.testing.assert_allclose(proxq(2).apply({}, x), np.array([-1, -1, 1, 1]) / 3, rtol=1e-6)


def test_original_takes_more_levels_than_its_bits_say():
    assert len(np.unique(proxq(4, levels="open").apply({}, normal(20_000)))) > 16


def test_one_bit_by_hand():
    x = jnp.array([-1.0, 0.0, 2.0, 5.0])  # mean magnitude 2
    y, gx = value_and_vjp(proxq(1), x, jnp.arange(4.0))
    np.testing.assert_array_equal(y, [-2, 2, 2, 2])
    np.testing.assert_array_equal(gx, np.arange(4.0))
    np.testing.assert_array_equal(proxq(1, levels="open").apply({}, x), [-2, 0, 2, 2])


def test_gradient_is_that_of_the_clamped_standardized_value():
    x, cotangent = normal(64), normal(64, seed=1)
    inside = np.abs(standardize(x)) <= 1
    assert 0 < inside.sum() < 64
    _, pullback = jax.vjp(standardize, x)
    expected = pullback(cotangent * inside)[0]
    np.testing.assert_allclose(value_and_vjp(proxq(3), x, cotangent)[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"bits": 4, "levels": "half"}, "levels='half' is unknown; choose from exact, open"),
        ({"bits": 4, "range_": 0.0}, "range_=0.0 must be positive"),
        ({"bits": 9}, "bits=9 is not a bit-width; choose from 1 to 8, or 32 for no quantization"),
    ],
)
def test_refusals(args, message):
    assert refused(proxq, **args) == message
