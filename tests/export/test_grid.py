"""Integers of kernels and of activation quantizers."""

import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.function import Function, evaluate, limited
from lifeq_jax.export.grid import POINTS, codes_of, scale_of, staircases, weight_of
from lifeq_jax.export.pack import pack, unpack
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import dequantize

KERNEL = jnp.asarray(np.random.default_rng(0).normal(0, 0.5, (3, 3, 4, 8)), jnp.float32)
FORMS = [
    ("cdf", {}),
    ("cdf", {"levels": "open"}),
    ("dorefa", {}),
    ("lsq", {}),
    ("lsq", {"per_channel": True}),
    ("lsq", {"symmetric": False}),
    ("lsq", {"symmetric": False, "per_channel": True}),
    ("minmax", {}),
    ("proxq", {}),
    ("proxq", {"levels": "open"}),
]


@pytest.mark.parametrize(("name", "arguments"), FORMS, ids=str)
@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_codes_are_the_quantizers(name, arguments, bits):
    if name == "lsq" and bits == 1:
        pytest.skip("lsq has no 1 bit")
    quantizer = QUANTIZERS[name](bits, **arguments)
    learned = quantizer.init(KERNEL)
    codes = quantizer.codes(learned, KERNEL)
    weight, step = weight_of(codes, bits)
    packed = pack(weight.values, weight.stored)
    assert packed.nbytes == KERNEL.size * weight.stored // 8
    np.testing.assert_array_equal(unpack(packed, weight.stored, KERNEL.shape) + weight.lowest, codes.values)
    np.testing.assert_allclose(weight.integers * step, dequantize(codes), rtol=1e-6)
    np.testing.assert_allclose(weight.integers * step, quantizer.apply(learned, KERNEL), rtol=1e-6)
    clamped = name not in ("dorefa",) and arguments.get("levels") != "open"
    assert (weight.stored == bits) or not clamped


def test_half_a_zero_doubles():
    weight, step = weight_of(QUANTIZERS["proxq"](2).codes({}, KERNEL), 2)
    assert (weight.factor, int(weight.offset), weight.zero) == (2, -3, (1.5,))
    assert set(np.unique(weight.integers)) == {-3, -1, 1, 3}
    np.testing.assert_allclose(step, 1 / 3, rtol=1e-6)


def one(codes, low, high):
    return staircases(lambda x, channel: codes(x), 1, low, high, "layer")[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_edges_of_the_activation_quantizer(bits):
    quantizer = QUANTIZERS["activation"](bits)
    found = one(lambda x: codes_of(quantizer, {}, x), -40.0, 70.0)
    steps = 2**bits - 1
    assert found.code.tolist() == list(range(steps + 1))
    below = np.nextafter(found.edge, np.float32(-1))
    assert codes_of(quantizer, {}, found.edge).tolist() == list(range(1, steps + 1))
    assert codes_of(quantizer, {}, below).tolist() == list(range(steps))
    if bits > 1:
        np.testing.assert_allclose(found.edge, (np.arange(1, steps + 1) - 0.5) / steps, rtol=1e-6)
    else:
        assert 0 < found.edge[0] < 1e-30  # any positive number


def test_a_function_that_falls_and_rises():
    """hard-swish: from 0 down to -0.375 at -1.5, and up again."""

    def codes(x):
        return np.round(np.asarray(hard_swish(jnp.asarray(x))) / 0.2).astype(int)

    found = one(codes, -10.0, 1.05)
    assert found.code.tolist() == [0, -1, -2, -1, 0, 1, 2, 3, 4]
    x = np.linspace(-10, 1.05, POINTS).astype(np.float32)
    np.testing.assert_array_equal(found.code[np.searchsorted(found.edge, x, side="right")], codes(x))


def test_channels_have_edges_of_their_own():
    scale = np.array([0.5, 0.1, 2.0])
    found = staircases(lambda x, channel: np.clip(np.round(x / scale[channel]), 0, 3), 3, -5.0, 5.0, "layer")
    for own, each in zip(scale, found, strict=True):
        assert each.code.tolist() == list(range(1 + min(3, round(5 / own))))
        np.testing.assert_allclose(each.edge, own * (np.arange(1, len(each.code)) - 0.5), rtol=1e-6)


def test_numbers_between_all_float32_are_told_apart():
    edge = np.float32(1.2345678)
    found = one(lambda x: (x >= edge).astype(int), -1e6, 1e6)
    assert found.edge.tolist() == [edge]


def test_codes_without_a_limit_are_refused():
    with pytest.raises(Refusal, match="layer layer has codes from -100000 to 100000 where .* at most 16 bits"):
        one(lambda x: np.round(x).astype(int), -1e5, 1e5)


def test_a_quantizer_of_the_whole_batch_is_refused():
    for quantizer in (QUANTIZERS["activation"](4, normalize=True), QUANTIZERS["minmax"](4)):
        with pytest.raises(Refusal, match="layer a/b quantizes a value by all values of its batch"):
            scale_of(quantizer, {}, 3, 4, "a/b")


def test_scale_and_zero_of_a_channel():
    quantizer = QUANTIZERS["lsq"](4, symmetric=False, per_channel=True)
    learned = {"scale": jnp.array([[0.5, 0.25]]), "zero": jnp.array([[3.2, 0.0]])}
    found = scale_of(quantizer, learned, 2, 2, "a")
    assert (found.scale.tolist(), found.zero.tolist()) == ([0.5, 0.25], [3, 0])
    single = scale_of(QUANTIZERS["cdf_activation"](2), {}, 2, 4, "a")
    np.testing.assert_allclose((single.scale, single.zero), (4 / 3, 1.5), rtol=1e-6)


def test_limits_of_a_function():
    from jax import lax

    def of(name, primitive, *inputs):
        return Function(name, primitive, {}, inputs)

    relu = of("max", lax.max_p, None, np.array(0, np.float32))
    relu6 = of("min", lax.min_p, relu, np.array(6, np.float32))
    sixth = of("div", lax.div_p, relu6, np.array(6, np.float32))
    assert limited(None)[2] == 1
    np.testing.assert_allclose(limited(sixth), (0, 1, 1 / 6))
    assert limited(of("add", lax.add_p, None, np.array(3, np.float32))) is None
    assert limited(of("div", lax.div_p, np.array(1, np.float32), None)) is None
    np.testing.assert_allclose(evaluate(sixth, np.array([-1, 3, 9], np.float32)), [0, 0.5, 1])
