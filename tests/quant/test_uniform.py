import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import QUANTIZERS
from tests.quant.pullback import value_and_vjp


def test_dorefa_by_hand():
    y = QUANTIZERS["dorefa"](2).apply({}, jnp.array([-0.4, 0.0, 0.16, 0.17, 0.5, 2.0]))
    np.testing.assert_allclose(y, np.array([-1, 0, 0, 1, 2, 6]) / 3, rtol=1e-6)  # 1.5 steps round to even


def test_activation_by_hand():
    x = jnp.array([-1.0, 0.0, 0.2, 0.7, 1.0, 3.0])
    y, gx = value_and_vjp(QUANTIZERS["activation"](1), x, jnp.ones(6))
    np.testing.assert_array_equal(y, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(gx, [0, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(QUANTIZERS["activation"](2).apply({}, x), [0, 0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6)


def test_minmax_by_hand():
    x = jnp.array([-3.0, -1.2, 0.9, 2.9])  # levels -3, -1, 1, 3
    y, gx = value_and_vjp(QUANTIZERS["minmax"](2), x, jnp.arange(4.0))
    np.testing.assert_allclose(y, [-3, -1, 1, 3], rtol=1e-6)
    np.testing.assert_array_equal(gx, np.arange(4.0))


def test_minmax_of_zeros_is_zero():
    np.testing.assert_array_equal(QUANTIZERS["minmax"](4).apply({}, jnp.zeros(5)), np.zeros(5))


@pytest.mark.parametrize("bits", range(2, 9))
def test_minmax_error_is_at_most_half_a_level(bits):
    x = jnp.asarray(np.random.default_rng(bits).normal(size=500), jnp.float32)
    error = jnp.abs(QUANTIZERS["minmax"](bits).apply({}, x) - x)
    assert jnp.max(error) <= jnp.max(jnp.abs(x)) / (2**bits - 1) * (1 + 1e-5)
