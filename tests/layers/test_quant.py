import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.layers.quant import (
    QuantAct,
    conv,
    head,
    quantize_params,
    quantized_mask,
    quantizer_table,
)
from lifeq_jax.quant import QUANTIZERS


class Small(nn.Module):
    weight: tuple
    first: tuple

    def setup(self):
        self.conv0 = conv(4, 3, self.first)
        self.layers = [conv(4, 3, self.weight, stride=2), conv(4, 1, self.weight)]
        self.logit = head(3)

    def __call__(self, x, train):
        for layer in (self.conv0, *self.layers):
            x = nn.relu(layer(x))
        return self.logit(jnp.mean(x, (1, 2)))


def small(name, bits, first_bits):
    make = QUANTIZERS[name]
    model = Small(make(bits), make(first_bits))
    return model, model.init(jax.random.key(0), jnp.zeros((1, 5, 5, 2)), train=False)


def test_kernel_is_quantized_and_the_parameter_stays_float():
    quantizer = QUANTIZERS["proxq"](2)
    layer = conv(3, 3, quantizer)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 4)), jnp.float32)
    variables = layer.init(jax.random.key(0), x)
    kernel = variables["params"]["kernel"]
    assert len(np.unique(kernel)) == kernel.size
    expected = jax.lax.conv_general_dilated(
        x, quantizer.apply({}, kernel), (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_array_equal(layer.apply(variables, x), expected)


@pytest.mark.parametrize(("size", "stride", "expected"), [(3, 1, 6), (3, 2, 3), (1, 2, 3), (3, 3, 2)])
def test_padding_is_torchs(size, stride, expected):
    layer = conv(2, size, QUANTIZERS["proxq"](32), stride=stride)
    y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 6, 1)))
    assert y.shape == (1, expected, expected, 2)


def test_strided_padding_stands_on_the_left_too():  # flax's SAME would see pixels 0..2 first, torch sees -1..1
    layer = conv(1, 3, QUANTIZERS["proxq"](32), stride=2)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    y = layer.apply({"params": {"kernel": kernel}}, image)
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 2], [8, 10]])


def test_act_is_its_quantizer():
    quantizer, x = QUANTIZERS["activation"](2), jnp.linspace(-1, 2, 7)
    np.testing.assert_array_equal(QuantAct(quantizer).apply({}, x), quantizer.apply({}, x))


def test_table_holds_the_kernels_below_32_bits():
    model, variables = small("proxq", 4, 32)
    table = quantizer_table(model, variables, (5, 5, 2))
    assert sorted(table) == ["layers_0/kernel", "layers_1/kernel"]
    assert list(table.values()) == [model.weight] * 2


def test_mask_is_true_where_the_table_acts():
    model, variables = small("minmax", 4, 8)
    params = variables["params"]
    mask = quantized_mask(quantizer_table(model, jax.eval_shape(lambda: variables), (5, 5, 2)), params)
    assert mask == {
        "conv0": {"kernel": True},
        "layers_0": {"kernel": True},
        "layers_1": {"kernel": True},
        "logit": {"kernel": False, "bias": False},
    }


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("name", sorted(QUANTIZERS))
def test_float_model_on_quantized_params_is_the_quantized_model(name, bits):
    model, variables = small(name, bits, bits)
    floating, _ = small(name, 32, 32)
    image = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 5, 2)), jnp.float32)
    table = quantizer_table(model, variables, (5, 5, 2))
    weights = quantize_params(table, variables["params"])
    expected = model.apply(variables, image, train=False)
    np.testing.assert_array_equal(floating.apply({"params": weights}, image, train=False), expected)


def test_gradient_through_quantize_params_is_that_of_the_layer():
    model, variables = small("proxq", 3, 3)
    floating, _ = small("proxq", 32, 32)
    image = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, 5, 2)), jnp.float32)
    table = quantizer_table(model, variables, (5, 5, 2))

    def inside(params):
        return jnp.sum(jnp.square(model.apply({"params": params}, image, train=False)))

    def outside(params):
        weights = quantize_params(table, params)
        return jnp.sum(jnp.square(floating.apply({"params": weights}, image, train=False)))

    expected, found = jax.grad(inside)(variables["params"]), jax.grad(outside)(variables["params"])
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
