from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.quant import LayerBits, QuantAct, QuantDense, bit_table, conv, observe_ranges, quantizer_table
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import Quantizer
from lifeq_jax.quant.codes import is_learned, mask, quantize_kernels
from lifeq_jax.quant.rounding import identity
from tests.layers.learned import absmax

SHAPE = (5, 5, 2)
ROWS = {
    **QUANTIZERS,
    "lsq_per_channel": partial(QUANTIZERS["lsq"], per_channel=True, symmetric=False),
    "absmax": absmax,
}


class Small(nn.Module):
    weight: Quantizer
    first: Quantizer
    activation: Quantizer

    def setup(self):
        self.conv0 = conv(4, 3, self.first)
        self.act = QuantAct(self.activation)
        self.layers = [conv(4, 3, self.weight, stride=2), conv(4, 1, self.weight, bias=True)]
        self.logit = QuantDense(3, weight=self.weight)

    def __call__(self, x, train):
        x = self.act(nn.relu(self.conv0(x)))
        for layer in self.layers:
            x = nn.relu(layer(x))
        return self.logit(self.act(jnp.mean(x, (1, 2))))


FLOATING = Small(identity(), identity(), identity())


def small(weight, first=None, activation=None):
    model = Small(weight, weight if first is None else first, activation or identity())
    return model, model.init(jax.random.key(0), images(), train=False)


def images(seed=1, scale=1.0):
    return np.random.default_rng(seed).normal(size=(2, *SHAPE), scale=scale).astype(np.float32)


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("make", [QUANTIZERS["proxq"], absmax])
def test_kernel_is_quantized_and_the_parameter_stays_float(make):
    quantizer = make(2)
    layer = conv(3, 3, quantizer)
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype(np.float32)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    kernel = params["kernel"]
    assert len(np.unique(kernel)) == kernel.size
    expected = convolved(x, quantizer.apply(params.get("quantizer", {}), kernel))
    np.testing.assert_array_equal(layer.apply({"params": params}, x), expected)


def test_dense_kernel_is_quantized_and_the_bias_is_not():
    layer, kernel = QuantDense(2, weight=absmax(2)), np.array([[0.2, 0.9], [-0.8, 0.1]])
    params = {"kernel": kernel, "bias": np.array([0.3, 0.4]), "quantizer": {"scale": np.float32(1)}}
    found = jax.jit(layer.apply)({"params": params}, np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(found, [[-1.7, 1.4]], rtol=1e-6)


@pytest.mark.parametrize(("size", "stride", "expected"), [(3, 1, 6), (3, 2, 3), (1, 2, 3), (3, 3, 2), (5, 2, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_padding_is_torchs(size, stride, expected, groups):
    layer = conv(2, size, identity(), stride=stride, groups=groups)
    y, _ = jax.eval_shape(lambda x: layer.init_with_output(jax.random.key(0), x), jnp.ones((1, 6, 6, 2)))
    assert y.shape == (1, expected, expected, 2)


def test_strided_padding_stands_on_the_left_too():  # flax's SAME would see pixels 0..2 first, torch sees -1..1
    layer = conv(1, 3, identity(), stride=2)
    kernel = np.pad(np.ones((1, 1, 1, 1), np.float32), ((1, 1), (1, 1), (0, 0), (0, 0)))
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    y = np.array(jax.jit(layer.apply)({"params": {"kernel": kernel}}, image))
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 2], [8, 10]])


def test_act_is_its_quantizer():
    quantizer, x = QUANTIZERS["activation"](2), np.linspace(-1, 2, 7, dtype=np.float32)
    np.testing.assert_array_equal(QuantAct(quantizer).apply({}, x), quantizer.apply({}, x))


def test_learned_state_starts_from_the_first_tensor_and_gets_a_gradient():
    layer, x = QuantAct(absmax(3)), jnp.array([-6.0, 1.0, 3.1])
    variables = layer.init(jax.random.key(0), x)
    assert jax.tree.map(float, variables) == {"params": {"quantizer": {"scale": 2.0}}}
    np.testing.assert_array_equal(layer.apply(variables, x), [-6, 0, 4])
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(layer.apply(v, x))))(variables)
    np.testing.assert_allclose(gradient["params"]["quantizer"]["scale"], np.sum(x), rtol=1e-6)


def test_noise_comes_from_the_step_and_from_nowhere_else():
    layer, x = QuantAct(absmax(3, noisy=True)), jnp.linspace(-1, 1, 6)
    variables = layer.init(jax.random.key(0), x)
    one, same, other = (layer.apply(variables, x, rngs={"noise": jax.random.key(k)}) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    np.testing.assert_array_equal(layer.apply(variables, x), QuantAct(absmax(3)).apply(variables, x))
    silent = QuantAct(absmax(3)).apply(variables, x, rngs={"noise": jax.random.key(1)})
    np.testing.assert_array_equal(layer.apply(variables, x), silent)


def test_table_holds_the_kernels_below_32_bits():
    model = Small(QUANTIZERS["proxq"](4), identity(), identity())
    table = quantizer_table(model, SHAPE)
    assert sorted(table) == ["layers_0/kernel", "layers_1/kernel", "logit/kernel"]
    assert list(table.values()) == [model.weight] * 3


def test_bits_of_every_layer_in_the_order_of_the_calls():
    model = Small(absmax(4), absmax(8), absmax(3))
    found = bit_table(model, SHAPE)
    expected = {
        "conv0": LayerBits(8, None),
        "act": LayerBits(None, 3),
        "layers_0": LayerBits(4, None),
        "layers_1": LayerBits(4, None),
        "logit": LayerBits(4, None),
    }
    assert list(found.items()) == list(expected.items())


def test_mask_is_true_where_the_table_acts():
    model, variables = small(QUANTIZERS["minmax"](4), identity())
    params = variables["params"]
    found = mask(quantizer_table(model, SHAPE), params)
    assert found == {
        "conv0": {"kernel": False},
        "layers_0": {"kernel": True},
        "layers_1": {"kernel": True, "bias": False},
        "logit": {"kernel": True, "bias": False},
    }


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_float_model_on_quantized_params_is_the_quantized_model(name, bits):
    model, variables = small(identity() if bits == 32 else ROWS[name](bits))
    table = quantizer_table(model, SHAPE)
    weights = quantize_kernels(table, variables["params"])
    expected = model.apply(variables, images(), train=False)
    np.testing.assert_array_equal(FLOATING.apply({"params": weights}, images(), train=False), expected)


@pytest.mark.parametrize("name", ["proxq", "lsq"])
def test_gradient_through_quantized_params_is_that_of_the_layer(name):
    model, variables = small(ROWS[name](3))
    table = quantizer_table(model, SHAPE)

    def inside(params):
        return jnp.sum(jnp.square(model.apply({"params": params}, images(), train=False)))

    def outside(params):
        weights = quantize_kernels(table, params)
        return jnp.sum(jnp.square(FLOATING.apply({"params": weights}, images(), train=False)))

    expected, found = (jax.jit(jax.grad(loss))(variables["params"]) for loss in (inside, outside))
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_calibration_by_hand():
    """Two batches; every layer sees what the ones before it give with the ranges found so far."""
    model, variables = small(absmax(4), identity(), absmax(3))
    ranges, largest = {}, 0.0
    for image in (images(1), images(2, scale=0.1)):
        ranges, params = observe_ranges(model, variables, ranges, image)
        largest = max(largest, np.max(jax.jit(convolved)(image, params["conv0"]["kernel"])))  # relu: from 0 on
    assert jax.tree.structure(params) == jax.tree.structure(variables["params"])
    # The pooled feature passes the same quantizer and is smaller.
    np.testing.assert_allclose(params["act"]["quantizer"]["scale"], largest / 3, rtol=1e-6)
    for name, leaf in named_leaves(params).items():
        if not is_learned(name):
            np.testing.assert_array_equal(leaf, named_leaves(variables["params"])[name])
    for layer in ("layers_0", "layers_1", "logit"):
        expected = np.max(np.abs(params[layer]["kernel"])) / 7
        np.testing.assert_allclose(params[layer]["quantizer"]["scale"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["lsq", "lsq_per_channel"])
def test_calibration_under_jit_keeps_the_structure(name):
    model, variables = small(ROWS[name](4), identity(), QUANTIZERS["lsq"](4))
    observe = jax.jit(lambda ranges, image: observe_ranges(model, variables, ranges, image))
    ranges, once = observe({}, images(1))
    again, twice = observe(ranges, images(2, scale=3.0))
    assert jax.tree.structure(ranges) == jax.tree.structure(again)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert jax.tree.map(jnp.shape, once) == jax.tree.map(jnp.shape, twice) == shapes
    assert twice["act"]["quantizer"]["scale"] > once["act"]["quantizer"]["scale"]
    for layer in ("layers_0", "layers_1", "logit"):  # whose weights are the same in both batches
        np.testing.assert_allclose(twice[layer]["quantizer"]["scale"], once[layer]["quantizer"]["scale"], rtol=1e-5)


def test_a_quantizer_called_again_in_the_same_pass_keeps_its_range():
    """The pooled feature takes the grid of the tensor that was pooled, and leaves its range alone."""

    class Twice(nn.Module):
        def setup(self):
            self.act = QuantAct(QUANTIZERS["lsq"](4, ranges="minmax"))

        def __call__(self, x, train):
            return self.act(0.1 * self.act(x))

    variables = Twice().init(jax.random.key(0), images(), False)
    ranges, params = observe_ranges(Twice(), variables, {}, images(1))
    _, params = observe_ranges(Twice(), {"params": params}, ranges, images(2))
    expected = np.max(np.abs(images(2))) / 7
    np.testing.assert_allclose(params["act"]["quantizer"]["scale"], expected, rtol=1e-6)
