import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import conv
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit, DenseUnit
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.rounding import identity

WEIGHT, ACT = QUANTIZERS["minmax"](2), QUANTIZERS["activation"](2)
POSITIONS = ("input", "norm", "output")


def given(position):
    """Quantizes the weights and activations of the roles first and classifier only."""
    named = ("first", "classifier")
    return Quantizers(
        position,
        lambda role: WEIGHT if role in named else identity(),
        lambda role: ACT if role in named else identity(),
    )


def images(shape=(2, 4, 4, 3)):
    return jnp.asarray(np.random.default_rng(0).normal(0.5, 0.5, shape), jnp.float32)


def act_at(position, wanted, x):
    return ACT.apply({}, x) if position == wanted else x


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_unit_is_its_parts_with_one_activation_quantizer(position, train):
    x = images()
    unit = ConvUnit(5, 3, given(position), role="first", stride=2, function=jnp.tanh)
    variables = unit.init(jax.random.key(1), x, False)
    params, stats = variables["params"], variables["batch_stats"]
    assert {name: set(part) for name, part in params.items()} == {"conv": {"kernel"}, "norm": {"scale", "bias"}}
    y = act_at(position, "input", x)
    y = conv(5, 3, WEIGHT, stride=2).apply({"params": params["conv"]}, y)
    norm = {"params": params["norm"], "batch_stats": stats["norm"]}
    y, moved = BatchNorm().apply(norm, y, train, mutable=["batch_stats"])
    y = act_at(position, "output", jnp.tanh(act_at(position, "norm", y)))
    found, after = unit.apply(variables, x, train, mutable=["batch_stats"])
    np.testing.assert_allclose(found, y, rtol=1e-6, atol=1e-6)
    assert found.shape == (2, 2, 2, 5)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"]["norm"], moved["batch_stats"])


@pytest.mark.parametrize("position", POSITIONS)
def test_quantize_act_leaves_the_activations_float(position):
    x = images()
    unit = ConvUnit(5, 1, given(position), role="first", quantize_act=False)
    variables = unit.init(jax.random.key(1), x, False)
    floating = ConvUnit(5, 1, given(position)._replace(activation=lambda role: identity()), role="first")
    np.testing.assert_array_equal(unit.apply(variables, x, False), floating.apply(variables, x, False))


def test_unit_without_norm_has_a_bias():
    x = images()
    unit = ConvUnit(2, 1, given("output"), function=nn.relu, use_norm=False)
    variables = unit.init(jax.random.key(1), x, False)
    assert set(variables) == {"params"}
    kernel = variables["params"]["conv"]["kernel"]
    bias = jnp.array([0.5, -100.0])
    found = unit.apply({"params": {"conv": {"kernel": kernel, "bias": bias}}}, x, False)
    expected = np.maximum(np.einsum("bhwi,io->bhwo", x, kernel[0, 0]) + np.asarray(bias), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_unit_without_padding_stays_inside_the_image(size, stride):
    x, floating = images((2, 5, 5, 3)), Quantizers("output", lambda role: identity(), lambda role: identity())
    unit = ConvUnit(2, size, floating, stride=stride, use_norm=False, padded=False)
    variables = unit.init(jax.random.key(1), x, False)
    kernel = np.asarray(variables["params"]["conv"]["kernel"])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    expected = np.einsum("bhwcij,ijcf->bhwf", windows, kernel)
    np.testing.assert_allclose(unit.apply(variables, x, False), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("position", POSITIONS)
def test_linear_unit_is_its_parts_with_one_activation_quantizer(position):
    x = images((4, 6)) - 0.5
    unit = DenseUnit(5, given(position), role="first")
    variables = unit.init(jax.random.key(2), x)
    kernel, bias = variables["params"]["dense"]["kernel"], variables["params"]["dense"]["bias"] + 0.4
    y = act_at(position, "input", x) @ WEIGHT.apply({}, kernel) + bias[None]
    y = act_at(position, "output", jnp.maximum(act_at(position, "norm", y), 0))
    found = unit.apply({"params": {"dense": {"kernel": kernel, "bias": bias}}}, x)
    np.testing.assert_allclose(found, y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("position", POSITIONS)
def test_an_average_takes_the_grid_of_the_output_and_of_nothing_else(position):
    x = jnp.array([[0.1, 0.4, 0.6]])
    unit = ConvUnit(3, 1, given(position), role="first")
    expected = act_at(position, "output", x)
    np.testing.assert_array_equal(unit.apply({}, x, method="pooled"), expected)


@pytest.mark.parametrize("position", POSITIONS)
def test_classifier_is_a_linear_layer_with_one_activation_quantizer(position):
    x = images((4, 6))
    layer = Classifier(3, given(position))
    variables = layer.init(jax.random.key(2), x)
    kernel, bias = variables["params"]["dense"]["kernel"], variables["params"]["dense"]["bias"] + 0.4
    found = layer.apply({"params": {"dense": {"kernel": kernel, "bias": bias}}}, x)
    y = act_at(position, "input", x) @ WEIGHT.apply({}, kernel) + bias[None]
    np.testing.assert_allclose(found, act_at(position, "output", y), rtol=1e-6, atol=1e-6)


def test_roles_choose_the_quantizers():
    x = images()
    unit = ConvUnit(2, 1, given("output"), role="inner")
    variables = unit.init(jax.random.key(1), x, False)
    floating = Quantizers("output", lambda role: identity(), lambda role: identity())
    expected = ConvUnit(2, 1, floating).apply(variables, x, False)
    np.testing.assert_array_equal(unit.apply(variables, x, False), expected)
