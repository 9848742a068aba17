import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.proxq import standardize
from lifeq_jax.quant.uniform import NORMALIZED_RANGE
from tests.quant.pullback import value_and_vjp

DOREFA_BITS = (1, 2, 3, 4, 8, 32)
VARIANTS = {"resnet20": {}, "mobilenet": {"normalize": True}, "office": {}}


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", DOREFA_BITS)
def test_dorefa_is_the_original(golden, bits):
    g = golden("lq_uniform_quantize")
    quantizer = QUANTIZERS["dorefa"](bits)
    for x, ct, suffix in (("x", "ct", ""), (f"k{bits}/x_special", f"k{bits}/ct_special", "_special")):
        y, gx = value_and_vjp(quantizer, g[x], g[ct])
        np.testing.assert_allclose(y, g[f"k{bits}/y{suffix}"], rtol=3e-7, atol=0)
        np.testing.assert_array_equal(gx, g[f"k{bits}/gx{suffix}"])


@pytest.mark.parametrize("bits", DOREFA_BITS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_activation_is_the_original(golden, variant, bits):
    g = golden("lq_activation_quantize")
    quantizer = QUANTIZERS["activation"](bits, **VARIANTS[variant])
    y, gx = value_and_vjp(quantizer, g[f"{variant}/x"], g[f"{variant}/ct"])
    close(y, g[f"{variant}/k{bits}/y"])
    close(gx, g[f"{variant}/k{bits}/gx"])


@pytest.mark.parametrize("bits", DOREFA_BITS)
@pytest.mark.parametrize("variant", ("resnet20", "office"))
def test_activation_gradient_is_one_at_the_bounds(golden, variant, bits):
    g = golden("lq_activation_quantize")
    quantizer = QUANTIZERS["activation"](bits)
    y, gx = value_and_vjp(quantizer, g[f"{variant}/x_edge"], g[f"{variant}/ct_edge"])
    close(y, g[f"{variant}/k{bits}/y_edge"])
    np.testing.assert_array_equal(gx, g[f"{variant}/k{bits}/gx_edge"])


def test_normalized_activation_is_the_original_before_rounding(golden):
    g = golden("lq_activation_quantize")
    close(standardize(jnp.asarray(g["mobilenet/x"]), NORMALIZED_RANGE), g["mobilenet/xn"])


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
