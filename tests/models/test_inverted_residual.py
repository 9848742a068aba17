"""The network that MobileNetV3 and EfficientNet-Lite are, with small shapes of it."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.quant import QuantAct, bit_table, observe_ranges
from lifeq_jax.layers.setups import Quantizers, quantizers
from lifeq_jax.models import MODELS
from lifeq_jax.models.inverted_residual import Block, BlockShape, InvertedResidualNetwork, hard_sigmoid
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.models.mobilenet_v2 import relu6
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.rounding import identity

SHAPE = (6, 6, 2)
SHAPES = (BlockShape(3, 8, 8, 1, jax.nn.relu, 8), BlockShape(5, 16, 8, 2, hard_swish))


def images(count=4):
    return jnp.asarray(np.random.default_rng(5).normal(size=(count, *SHAPE)), jnp.float32)


def network(setup="LSQ", bits=4, act_bits=4, **args):
    lsq = partial(QUANTIZERS["lsq"], ranges="minmax")
    made = quantizers(setup, lsq, lsq, bits, act_bits)
    return InvertedResidualNetwork(3, made, 8, 1, SHAPES, 16, relu6, **{"hidden": 8, **args})


@cache
def calibrated(setup):
    """Fresh variables with the ranges and the statistics of the images."""
    model = network(setup)
    variables = initialize(model, 0, SHAPE)

    def run(variables, image):
        _, params = observe_ranges(model, variables, {}, image)
        fresh = {**variables, "params": params}
        _, found = model.apply(fresh, image, True, mutable=["batch_stats", "moments"])
        return {"params": params, "batch_stats": found["moments"]}

    return jax.jit(run)(variables, images())


def test_squeeze_and_excitation_by_hand():
    block = Block(BlockShape(1, 1, 1, 1, lambda x: x, 1), 1, Quantizers("norm", *[lambda role: identity()] * 2))
    one, norm = jnp.ones((1, 1, 1, 1)), {"scale": jnp.ones(1), "bias": jnp.zeros(1)}
    params = {
        "depthwise": {"conv": {"kernel": 2 * one}, "norm": norm},
        "squeeze": {"conv": {"kernel": one, "bias": jnp.array([-1.0])}},
        "excite": {"conv": {"kernel": 3 * one, "bias": jnp.array([-6.0])}},
        "project": {"conv": {"kernel": one}, "norm": norm},
    }
    stats = {"norm": {"mean": jnp.zeros(1), "var": jnp.ones(1) - 1e-5}}
    x = jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    y = block.apply({"params": params, "batch_stats": {"depthwise": stats, "project": stats}}, x, False)
    # average of (2, 4): 3; squeezed: 3 - 1; gate: hard-sigmoid of 3 * 2 - 6; half of (2, 4), plus the input
    np.testing.assert_allclose(y.reshape(2), [2.0, 4.0], rtol=1e-6)


def test_head_of_features_is_the_network():
    for hidden, width in ((8, 8), (0, 16)):
        model = network(hidden=hidden, bits=32, act_bits=32)
        state = initialize(model, 0, SHAPE)
        feature = model.apply(state, images(), False, method="features")
        assert feature.shape == (4, width)
        logits = model.apply({"params": state["params"]}, feature, method="head")
        np.testing.assert_allclose(logits, model.apply(state, images(), False), rtol=1e-6)


def test_averages_keep_the_grid_of_what_was_pooled(monkeypatch):
    seen, call = {}, QuantAct.__call__

    def recorded(self, x):
        y = call(self, x)
        seen.setdefault("/".join(self.path), []).append((x.shape, y))
        return y

    state = calibrated("LSQ")
    monkeypatch.setattr(QuantAct, "__call__", recorded)
    network("LSQ").apply(state, images(), False)
    twice = {"blocks_0/depthwise/act", "last/act"}
    for path in twice:
        (_, whole), (shape, pooled) = seen[path]
        assert shape == (4, 1, 1, whole.shape[-1])
        scale = named_leaves(state["params"])[f"{path}/quantizer/scale"]
        steps = np.asarray(pooled / scale)
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
        assert len(np.unique(steps)) > 1
    assert {path for path, calls in seen.items() if len(calls) > 1} == twice


def made(name, setup="LSQ", bits=32, **args):
    of_bits = lambda bits: identity()._replace(bits=bits)  # noqa: E731
    return MODELS[name](10, quantizers(setup, of_bits, of_bits, bits, bits), **args)


def table(setup):
    return bit_table(made("mobilenet_v3_small", setup, 3), (32, 32, 3))


def bits(found, kind):
    return {path: getattr(layer, kind) for path, layer in found.items() if getattr(layer, kind) is not None}


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


def sizes(model):
    """The sides of what comes out of the stem, the blocks and the last convolution, of images of 32x32."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    run = partial(made(model).init_with_output, train=False, capture_intermediates=True)
    outputs = jax.eval_shape(lambda x: run(jax.random.key(0), x), image)[1]["intermediates"]
    names = sorted((name for name in outputs if name.startswith("blocks_")), key=lambda name: int(name[7:]))
    return [outputs[name]["__call__"][0].shape[1] for name in ("stem", *names, "last")]


def test_forms_differ_in_strides_only():
    assert sizes("mobilenet_v3_small_32") == [32, 32, 16, 16, 8, 8, 8, 8, 8, 4, 4, 4, 4]
    assert sizes("mobilenet_v3_small") == [16, 8, 4, 4, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    assert [sizes(name)[-1] for name in ("efficientnet_lite0", "efficientnet_lite0_32")] == [1, 4]
    for name in ("mobilenet_v3_small", "efficientnet_lite0"):
        shapes = [variable_shapes(made(form), (32, 32, 3)) for form in (name, f"{name}_32")]
        assert shapes[0] == shapes[1]


def test_running_statistics_move_as_in_torchvision_in_the_large_form_only():
    norms = [made(name).make_norm() for name in ("mobilenet_v3_small", "mobilenet_v3_small_32")]
    assert [(norm.momentum, norm.epsilon) for norm in norms] == [(0.01, 0.001), (0.1, 0.001)]


@pytest.mark.parametrize(("form", "stem", "last"), [("", 32, 1280), ("_32", 8, 320)])
def test_width_of_efficientnet_lite(form, stem, last):
    params = variable_shapes(made(f"efficientnet_lite0{form}", width=0.25), (32, 32, 3))["params"]
    assert params["stem"]["conv"]["kernel"].shape == (3, 3, 3, stem)
    # 40 / 4 = 10 -> 16, as 8 is below 0.9 * 10; 80 / 4 = 20 -> 24
    assert params["blocks_5"]["project"]["conv"]["kernel"].shape == (1, 1, 6 * 16, 24)
    assert params["last"]["conv"]["kernel"].shape == (1, 1, 80, last)
