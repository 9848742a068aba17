"""The network that MobileNetV3 and EfficientNet-Lite are, with small shapes of it."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.quant import QuantAct, observe_ranges, quantizer_table
from lifeq_jax.layers.setups import Quantizers, quantizers
from lifeq_jax.models.inverted_residual import Block, BlockShape, Network
from lifeq_jax.models.loading import initialize
from lifeq_jax.models.mobilenet_v2 import relu6
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.codes import quantize
from lifeq_jax.quant.rounding import identity

SHAPE = (6, 6, 2)
SHAPES = (BlockShape(3, 8, 8, 1, jax.nn.relu, 8), BlockShape(5, 16, 8, 2, hard_swish))


def images(count=4):
    return jnp.asarray(np.random.default_rng(5).normal(size=(count, *SHAPE)), jnp.float32)


def network(setup="LSQ", bits=4, act_bits=4, **args):
    lsq = partial(QUANTIZERS["lsq"], ranges="minmax")
    made = quantizers(setup, lsq, lsq, bits, act_bits)
    return Network(3, made, 8, 1, SHAPES, 16, relu6, **{"hidden": 8, **args})


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


@pytest.mark.parametrize("setup", ["LSQ", "LSQ_paper", "convolutions"])  # one of each position
def test_every_position_trains_with_finite_gradients(setup):
    model, state = network(setup), calibrated(setup)

    def loss(params):
        logits, _ = model.apply({**state, "params": params}, images(), True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(logits - 1))

    value, grads = jax.jit(jax.value_and_grad(loss))(state["params"])
    assert np.isfinite(value)
    found = {name: leaf for name, leaf in named_leaves(grads).items() if not name.endswith("/low")}  # not trained
    assert all(np.all(np.isfinite(leaf)) for leaf in found.values())
    assert np.mean([bool(np.any(leaf != 0)) for leaf in found.values()]) > 0.9


@pytest.mark.parametrize("setup", ["LSQ", "LSQ_paper"])
def test_float_weights_at_quantized_values_give_the_quantized_network(setup):
    model, state = network(setup), calibrated(setup)
    table = quantizer_table(model, SHAPE)
    weights = quantize(table, state["params"])

    def logits(model, params):
        return jax.jit(lambda p: model.apply({**state, "params": p}, images(), False))(params)

    expected = logits(model, state["params"])
    np.testing.assert_allclose(logits(network(setup, bits=32), weights), expected, rtol=1e-6, atol=1e-6)
    assert np.any(logits(network(setup, bits=32), state["params"]) != expected)


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

    monkeypatch.setattr(QuantAct, "__call__", recorded)
    state = calibrated("LSQ")
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
