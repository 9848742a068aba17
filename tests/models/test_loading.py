import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.layers.initial import LECUN_NORMAL
from lifeq_jax.layers.quant import conv
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import initialize, load_float, variable_shapes
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.codes import is_learned
from lifeq_jax.quant.rounding import identity
from tests.refusals import refused


def resnet(bits, **args):
    of_role = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], bits, bits)
    return MODELS["resnet20"](10, of_role, **args)


def learned(bits, **args):
    return MODELS["resnet8"](10, quantizers("LSQ", QUANTIZERS["lsq"], QUANTIZERS["lsq"], bits, bits), width=4, **args)


def params(**shapes):
    return {name: jnp.full(shape, 2.0) for name, shape in shapes.items()}


def test_float_parameters_go_into_the_quantized_model():
    source = initialize(resnet(32, width=4), 0, (8, 8, 1))
    into = variable_shapes(resnet(4, width=4), (8, 8, 1))
    for collection in ("params", "batch_stats"):
        found = load_float(source[collection], into[collection])
        assert jax.tree.structure(found) == jax.tree.structure(into[collection])
        for name, value in named_leaves(found).items():
            np.testing.assert_array_equal(value, named_leaves(source[collection])[name])


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        (
            params(a=(2, 3), b=(4,)),
            params(a=(2, 3), b=(5,)),
            "parameters do not fit the model, 1 in all (given -> wanted): b 4 -> 5",
        ),
        (
            params(a=(2, 3), c=()),
            params(a=(3, 2), b=(1,)),
            "parameters do not fit the model, 3 in all (given -> wanted): "
            "a 2x3 -> 3x2; b absent -> 1; c scalar -> absent",
        ),
        (
            params(a=(1,), b=(1,), c=(1,), d=(1,), e=(1,)),
            params(a=(1,)),
            "parameters do not fit the model, 4 in all (given -> wanted): "
            "b 1 -> absent; c 1 -> absent; d 1 -> absent; and 1 more",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_shape(given, wanted, message):
    assert refused(load_float, given, wanted) == message


def test_what_quantizers_learn_is_not_carried_over():
    source, into = (initialize(learned(bits), seed, (8, 8, 1))["params"] for bits, seed in ((8, 0), (4, 1)))
    into = map_named(lambda name, leaf: leaf + 5 if is_learned(name) else leaf, into)
    found = named_leaves(load_float(source, into))
    for name, value in found.items():
        np.testing.assert_array_equal(value, named_leaves(into if is_learned(name) else source)[name])
    assert sum(map(is_learned, found)) > 20


def test_between_float_and_learned_scales():
    """From a float model into one with learned scales, of which only shapes are known, and back."""
    floating, shapes = initialize(learned(32), 0, (8, 8, 1))["params"], variable_shapes(learned(4), (8, 8, 1))["params"]
    found = load_float(floating, shapes)
    assert jax.tree.structure(found) == jax.tree.structure(shapes)
    assert all(isinstance(leaf, jax.Array) != is_learned(name) for name, leaf in named_leaves(found).items())
    back = load_float(found, floating)
    jax.tree.map(np.testing.assert_array_equal, back, floating)


def test_what_quantizers_learn_starts_at_one_and_zero():
    leaves = {
        name: leaf for name, leaf in named_leaves(initialize(learned(4), 0, (8, 8, 1))).items() if is_learned(name)
    }
    assert {name.rpartition("/")[2] for name in leaves} == {"scale", "low"}
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(leaf, 1.0 if name.endswith("scale") else 0.0)


def test_another_width_is_refused():
    given, wanted = (initialize(resnet(4, width=w), 0, (8, 8, 1))["params"] for w in (4, 8))
    with pytest.raises(Refusal, match="units_0/conv/kernel 3x3x4x4 -> 3x3x8x8; .*; and 61 more"):
        load_float(given, wanted)


def test_initialization_is_a_function_of_the_seed():
    first, same, other = (named_leaves(initialize(resnet(4, width=4), seed, (8, 8, 1))) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, same[name])
    assert np.any(first["params/stem/conv/kernel"] != other["params/stem/conv/kernel"])


class Plain(nn.Module):
    """A network of one's own: a layer that states another kernel than He's, one in Flax's way, and one by hand."""

    @nn.compact
    def __call__(self, x, train):
        x = conv(32, 3, identity(), kernel_init=LECUN_NORMAL)(x)
        x = nn.Dense(64, kernel_init=nn.initializers.normal(3.0), bias_init=nn.initializers.constant(0.5))(x)
        return x * self.param("gain", lambda key, shape: jnp.full(shape, 7.0), (64,)).reshape(1, 1, 1, -1)


def test_every_layer_of_a_network_gets_what_it_states():
    first, same, other = (initialize(Plain(), seed, (8, 8, 16))["params"] for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, same)
    assert np.any(first["Dense_0"]["kernel"] != other["Dense_0"]["kernel"])
    for kernel, deviation in ((first["QuantConv_0"]["kernel"], 144**-0.5), (first["Dense_0"]["kernel"], 3.0)):
        np.testing.assert_allclose(np.std(kernel), deviation, rtol=6 / (2 * kernel.size) ** 0.5)
    np.testing.assert_array_equal(first["Dense_0"]["bias"], np.full(64, 0.5))
    np.testing.assert_array_equal(first["gain"], np.full(64, 7.0))


def test_what_numpy_can_draw_is_never_compiled(monkeypatch):
    monkeypatch.setattr(jax, "jit", None)
    initialize(learned(4), 0, (8, 8, 1))
