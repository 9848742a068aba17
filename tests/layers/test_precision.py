"""Products of bfloat16 operands, on CPU and as other backends run them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lifeq_jax.layers.initial import HE_NORMAL
from lifeq_jax.layers.precision import in_bfloat16
from lifeq_jax.layers.quant import conv, dense
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.rounding import identity

PRECISIONS = ("float32", "bfloat16")
LAYERS = {  # the layer at a precision, and the shape of its kernel
    "convolution": (lambda precision: conv(4, 3, identity(), stride=2, precision=precision), (3, 3, 6, 4)),
    "depthwise": (lambda precision: conv(6, 3, identity(), groups=6, precision=precision), (3, 3, 1, 6)),
    "groups": (lambda precision: conv(4, 3, identity(), groups=2, precision=precision), (3, 3, 3, 4)),
    "dense": (lambda precision: dense(4, identity(), kernel_init=HE_NORMAL, precision=precision), (6, 4)),
}
layers = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


def matmul(x, kernel):
    return in_bfloat16(lax.dot_general)(x, kernel, (((1,), (0,)), ((), ())))


def rounded(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), tree)


def drawn(shape):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=size), jnp.float32) for size in ((3, 7, 7, 6), shape)]


def both_ways(layer, x, kernel, scale=0.3):
    """The output, and the gradients of its sum times `scale`."""

    def apply(x, kernel):
        params = {"kernel": kernel, **({"bias": jnp.zeros(4)} if layer.use_bias else {})}
        return layer.apply({"params": params}, x)

    y, back = jax.vjp(apply, x, kernel)
    return y, *back(jnp.full(y.shape, scale))


def test_by_hand(backend):
    x, kernel = jnp.array([[257.0, 3.0]]), jnp.array([[1.0], [1.0]])  # 257 has 9 digits, and its neighbors are 256, 258
    y, back = jax.vjp(matmul, x, kernel)
    to_x, to_kernel = back(jnp.array([[257.0]]))
    assert y.dtype == to_x.dtype == to_kernel.dtype == jnp.float32
    assert float(y[0, 0]) == 259.0  # no bfloat16 either: the sum is float32
    np.testing.assert_array_equal(to_x, [[256.0, 256.0]])
    np.testing.assert_array_equal(to_kernel, [[256.0 * 256], [256.0 * 3]])


def test_integers_times_a_power_of_two_are_exact(backend):
    values = jnp.arange(-256.0, 257.0) / 32
    found = matmul(values.reshape(-1, 1), jnp.array([[1.0, 0.375]]))
    np.testing.assert_array_equal(found, values.reshape(-1, 1) * jnp.array([[1.0, 0.375]]))


def test_levels_move_by_their_share_and_stay_apart_below_127():
    for scale in np.random.default_rng(0).uniform(0.5, 2.0, 20).astype(np.float32):
        values = jnp.arange(128.0) * scale
        found = matmul(values.reshape(-1, 1), jnp.ones((1, 1)))[:, 0]
        assert np.all(np.abs(found - values) <= 2.0**-8 * values) and np.any(found != values)
        assert len(np.unique(found)) == 128


@layers
def test_is_float32_arithmetic_on_rounded_operands(make, shape, backend):
    x, kernel = drawn(shape)
    found = both_ways(make("bfloat16"), x, kernel)
    expected = both_ways(make("float32"), *rounded((x, kernel)), scale=float(jnp.bfloat16(0.3)))
    assert all(array.dtype == jnp.float32 for array in found)
    # gradients of other backends come back as bfloat16
    for one, other, tolerance in zip(
        found, expected, (1e-5, *(2 * [1e-5 if backend == "cpu" else 2.0**-8])), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-5)


@layers
def test_differs_from_float32_by_the_rounding_of_two_operands_and_no_more(make, shape):
    x, kernel = drawn(shape)
    apart = jnp.abs(both_ways(make("bfloat16"), x, kernel)[0] - both_ways(make("float32"), x, kernel)[0])
    largest = both_ways(make("float32"), jnp.abs(x), jnp.abs(kernel))[0]
    assert float(jnp.max(apart)) > 0
    assert np.all(apart <= (2 * 2.0**-8 + 2.0**-16) * largest + 1e-5)


@layers
def test_float32_rounds_nothing(make, shape):
    text = {name: str(jax.make_jaxpr(lambda *a, n=name: both_ways(make(n), *a))(*drawn(shape))) for name in PRECISIONS}
    assert "reduce_precision" in text["bfloat16"]
    assert "reduce_precision" not in text["float32"] and "bf16" not in text["float32"]


def test_quantizers_compute_in_float32():
    random, quantizer = np.random.default_rng(1), QUANTIZERS["proxq"](3)
    x = jnp.asarray(random.normal(size=(1, 5)), jnp.float32)
    layer = dense(4, quantizer, kernel_init=HE_NORMAL, precision="bfloat16")
    params = layer.init(jax.random.key(0), x)
    expected = rounded(x) @ rounded(quantizer.apply({}, params["params"]["kernel"]))
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-6)
