import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers.quant import bit_table
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.inverted_residual import hard_sigmoid
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.models.mobilenet_v3 import hard_swish, mobilenet_v3_small, mobilenet_v3_small_32
from lifeq_jax.quant.rounding import identity


def table(setup, model=mobilenet_v3_small, bits=3):
    made = quantizers(setup, *[lambda bits: identity()._replace(bits=bits)] * 2, bits, bits)
    network = model(10, made)
    return bit_table(network, (32, 32, 3))


def bits(found, kind):
    return {path: getattr(layer, kind) for path, layer in found.items() if getattr(layer, kind) is not None}


@pytest.mark.parametrize("model", [mobilenet_v3_small, mobilenet_v3_small_32])
def test_parameters_are_those_published(model):
    made = quantizers("LSQ", *[lambda bits: identity()] * 2, 32, 32)
    params = variable_shapes(model(1000, made), (32, 32, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2_542_856


def test_hard_swish_by_hand():
    x = jnp.array([-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0])
    y, pullback = jax.vjp(hard_swish, x)
    np.testing.assert_allclose(y, [0, 0, -1 / 3, 0, 2 / 3, 3, 5], rtol=1e-6)
    gradient = pullback(jnp.ones(7))[0]  # x / 3 + 1 / 2 inside; at the bounds only the gate counts
    np.testing.assert_allclose(gradient, [0, 0, 1 / 6, 1 / 2, 5 / 6, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(hard_sigmoid(x), [0, 0, 1 / 3, 1 / 2, 2 / 3, 1, 1], rtol=1e-6)


def test_setup_lsq_has_8_bits_at_the_ends():
    found = table("LSQ")
    weights, activations = bits(found, "weight"), bits(found, "activation")
    assert {path for path, value in weights.items() if value != 3} == {"stem/conv", "classifier/dense"}
    assert weights["stem/conv"] == weights["classifier/dense"] == 8
    assert {path: value for path, value in activations.items() if value != 3} == {
        "hidden_layer/act": 8,
        "classifier/act": 32,
    }
    assert len(weights) == 54
    # one for each of these, the products of squeeze and excitation, the residual sums
    assert len(activations) == 54 + 9 + 6


@pytest.mark.parametrize("setup", ["LSQ_paper", "convolutions"])
def test_products_and_sums_are_float_where_nothing_is_quantized_as_an_output(setup):
    activations = bits(table(setup), "activation")
    elementwise = {path for path in activations if path.endswith(("/product", "/sum"))}
    assert len(elementwise) == 15
    assert {activations[path] for path in elementwise} == {32}


def test_forms_differ_in_strides_only():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    made = quantizers("LSQ", *[lambda bits: identity()] * 2, 32, 32)

    def sizes(model):
        network = model(10, made)
        _, found = jax.eval_shape(
            lambda x: network.init_with_output(jax.random.key(0), x, train=False, capture_intermediates=True), image
        )
        outputs = found["intermediates"]
        return [outputs[name]["__call__"][0].shape[1] for name in ("stem", *(f"blocks_{i}" for i in range(11)), "last")]

    assert sizes(mobilenet_v3_small_32) == [32, 32, 16, 16, 8, 8, 8, 8, 8, 4, 4, 4, 4]
    assert sizes(mobilenet_v3_small) == [16, 8, 4, 4, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    assert variable_shapes(mobilenet_v3_small_32(10, made), (32, 32, 3)) == variable_shapes(
        mobilenet_v3_small(10, made), (32, 32, 3)
    )


def test_running_statistics_move_as_in_torchvision_in_the_large_form_only():
    made = quantizers("LSQ", *[lambda bits: identity()] * 2, 32, 32)
    norms = [model(10, made).make_norm() for model in (mobilenet_v3_small, mobilenet_v3_small_32)]
    assert [(norm.momentum, norm.epsilon) for norm in norms] == [(0.01, 0.001), (0.1, 0.001)]
