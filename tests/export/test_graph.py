"""Every network's trace consists of layers and of what stands between them."""

from itertools import cycle

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.function import NAMES
from lifeq_jax.export.graph import trace_graph
from lifeq_jax.export.lower import _Lowering
from lifeq_jax.layers.quant import QuantConv, traced
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.quant import QUANTIZERS
from tests.export.networks import POSITIONS
from tests.models.test_models import LARGER, SMALL

LARGE_IMAGES = ("efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50")


def lsq(bits):
    return QUANTIZERS["lsq"](bits, ranges="minmax")


def graph_of(model, shape):
    variables = variable_shapes(model, shape)
    return trace_graph(model, variables["params"], variables["batch_stats"], shape)


# every network in one of the setups, in turn: what a setup changes, test_lower.py has for each kind of network
@pytest.mark.parametrize(("name", "setup"), zip(sorted(MODELS), cycle(POSITIONS), strict=False))
def test_every_network_is_known_all_through(name, setup):
    shape = LARGER.get(name, (32, 32, 3) if name in LARGE_IMAGES else (8, 8, 1))
    model = MODELS[name](3, quantizers(setup, lsq, lsq, 4, 4), **SMALL.get(name, {}))
    graph = graph_of(model, shape)
    assert [node for node in graph.nodes if not hasattr(_Lowering, f"_{node.kind}") and node.kind not in NAMES] == []
    assert not any(node.kind in ("lt", "select_n") for node in graph.nodes)  # relu6 is a minimum
    layers = [node.where for node in graph.nodes if node.kind in ("conv", "dense")]
    assert layers == list(traced(model, shape).weights)
    assert graph.shapes[graph.output] == (2, 3)


class Around(nn.Module):
    """A function of the image, and of nothing else."""

    function: object

    @nn.compact
    def __call__(self, x, train):
        return self.function(x)


def kinds(function, shape=(4, 4, 2)):
    return [node.kind for node in trace_graph(Around(function), {}, {}, shape).nodes]


def test_what_depends_on_constants_alone_is_computed():
    graph = trace_graph(Around(lambda x: x + jnp.sqrt(jnp.float32(4)) * jnp.ones((4, 4, 2))[None]), {}, {}, (4, 4, 2))
    (node,) = graph.nodes
    assert (node.kind, node.inputs[1].item(), node.inputs[1].shape) == ("add", 2.0, ())


def test_what_the_output_does_not_need_is_left_out():
    def function(x):
        jnp.exp(x)
        return nn.relu(x)

    assert kinds(function) == ["max"]


def test_hard_swish_reads_its_input_twice():
    assert kinds(hard_swish) == ["add", "max", "min", "div", "mul"]


def test_another_choice_is_no_minimum():
    assert "select_n" in kinds(lambda x: jnp.where(x < 6, x, 5.0))
    assert "select_n" in kinds(lambda x: jnp.where(x < 6, -x, 6.0))


def layer(**fields):
    return QuantConv(4, (3, 3), weight=lsq(4), **fields)


class Alone(nn.Module):
    """One layer."""

    part: nn.Module

    def __call__(self, x, train):
        return self.part(x)


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, (1, 2), ((0, 1), (2, 0))])
@pytest.mark.parametrize("strides", [None, 2, (2, 1)])
def test_shapes_are_those_of_flax(padding, strides):
    model = Alone(layer(padding=padding, strides=strides))
    variables = variable_shapes(model, (7, 6, 2))
    found = trace_graph(model, variables["params"], {}, (7, 6, 2))
    plain = nn.Conv(4, (3, 3), padding=padding, strides=1 if strides is None else strides)
    expected, _ = plain.init_with_output({"params": np.zeros(2, np.uint32)}, jnp.zeros((2, 7, 6, 2)))
    assert found.shapes[found.output] == expected.shape


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"kernel_dilation": 2}, "kernel_dilation=2"), ({"padding": "CIRCULAR"}, "padding='CIRCULAR'")],
)
def test_refused_by_layer(fields, words):
    model = Alone(layer(**fields))
    variables = variable_shapes(model, (8, 8, 2))
    with pytest.raises(Refusal, match=f"layer part has {words}; export knows"):
        trace_graph(model, variables["params"], {}, (8, 8, 2))


def test_several_results_are_refused():
    with pytest.raises(Refusal, match="sort in .* has no form in integers"):
        trace_graph(Around(lambda x: jnp.argsort(x, axis=1).astype(x.dtype)), {}, {}, (4, 4, 2))
