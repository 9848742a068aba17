"""What every row of QUANTIZERS holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import BITS, dequantize

VARIANTS = [(name, {}) for name in sorted(QUANTIZERS)] + [
    ("activation", {"normalize": True}),
    ("proxq", {"levels": "open"}),
    ("proxq", {"range_": 0.5}),
]
rows = pytest.mark.parametrize(("name", "args"), VARIANTS, ids=str)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(3).normal(0.2, 0.5, (3, 3, 4, 8)), jnp.float32)


@rows
@pytest.mark.parametrize("bits", BITS)
def test_value_is_the_dequantized_codes(name, args, bits, x):
    quantizer = QUANTIZERS[name](bits, **args)
    y = quantizer.apply(quantizer.init(x), x)
    assert (y.shape, y.dtype, quantizer.bits) == (x.shape, x.dtype, bits)
    if bits == 32:
        assert quantizer.codes is None
        np.testing.assert_array_equal(y, x)
    else:
        codes = quantizer.codes(quantizer.init(x), x)
        assert codes.values.dtype == jnp.int32
        np.testing.assert_array_equal(y, dequantize(codes))
        compiled = jax.jit(lambda a: (quantizer.apply({}, a), dequantize(quantizer.codes({}, a))))(x)
        np.testing.assert_array_equal(*compiled)


@rows
def test_jit_equals_eager_without_a_second_trace(name, args, x):
    quantizer = QUANTIZERS[name](4, **args)
    traces = []

    @jax.jit
    def compiled(a):
        traces.append(1)
        return quantizer.apply({}, a)

    np.testing.assert_allclose(compiled(x), quantizer.apply({}, x), rtol=1e-6, atol=1e-7)
    compiled(x + 1)
    assert len(traces) == 1


@rows
@pytest.mark.parametrize("bits", [1, 4, 32])
def test_gradients_are_finite_and_not_all_zero(name, args, bits, x):
    weights = jnp.linspace(-1, 1, x.size).reshape(x.shape)
    gradient = jax.grad(lambda a: jnp.sum(QUANTIZERS[name](bits, **args).apply({}, a) * weights))(x)
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient != 0)


@rows
def test_pmap_equals_single(name, args, x):
    quantizer = QUANTIZERS[name](4, **args)
    stacked = jnp.stack([x, x + 0.5])
    found = jax.pmap(lambda a: quantizer.apply({}, a))(stacked)
    np.testing.assert_allclose(found[1], quantizer.apply({}, stacked[1]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
@pytest.mark.parametrize("bits", [0, 9, 16, -1])
def test_other_bit_widths_are_refused(name, bits):
    with pytest.raises(Refusal, match=f"bits={bits} is not a bit-width; choose from 1 to 8, or 32"):
        QUANTIZERS[name](bits)
