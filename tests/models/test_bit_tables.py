"""The bits, shapes and order of every layer under every setup, against the networks of Overcoming Oscillations."""

import functools

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.layers.quant import bit_table, quantizer_table
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.quant.rounding import identity
from tests import vectors

TABLES = {net: table for net, table in vectors.document("osc_bit_tables").items() if net in MODELS}
CASES = [(net, case) for net, table in TABLES.items() for case in table]
POOLING = ("avgpool", "features.19")  # tied to the quantizer of what is pooled
SHAPE = (32, 32, 3)


@functools.cache  # equal networks are traced once
def made(net, setup="all", bits=3):
    of_bits = lambda bits: identity()._replace(bits=bits)  # noqa: E731
    return MODELS[net](1000, quantizers(setup, of_bits, of_bits, bits, bits))


def expected_bits(net, golden):
    """(weight bits, activation bits) of the layers and bits of the residual sums, in the order executed; 32: float."""
    if "layers" in golden:
        layers = {row["name"]: (row["weight_bits"], row["act_bits"]) for row in golden["layers"]}
        modules = {row["name"]: row["act_bits"] for row in golden["activation_modules"]}
    else:
        layers = {name: (bits, golden["act_bits"][name]) for name, bits in golden["weight_bits"].items()}
        modules = {name: bits for name, (bits, _) in golden["activation_modules"].items()}
    first = TABLES[net]["all_w3"]
    sums = [row["name"] for row in first["activation_modules"] if row["used_in_forward"] and row["name"] not in POOLING]
    weights, acts = zip(*(layers[name] for name in first["order_executed"]), strict=True)
    return list(weights), [bits or 32 for bits in acts], [modules.get(name) or 32 for name in sums]


def found_bits(model):
    table = bit_table(model, SHAPE)
    acts, sums = ([bits.activation for path, bits in table.items() if path.endswith(end)] for end in ("/act", "/sum"))
    weights = [bits.weight for bits in table.values() if bits.weight is not None]
    assert len(table) == len(weights) + len(acts) + len(sums)
    return weights, acts, sums


@pytest.mark.parametrize(
    ("net", "case"), [(net, case) for net, case in CASES if "unsupported" not in TABLES[net][case]]
)
def test_bits_are_the_originals(net, case):
    golden, (setup, bits) = TABLES[net][case], case.split("_w")
    model = made(net, setup, int(bits))
    assert found_bits(model) == expected_bits(net, golden)
    table = quantizer_table(model, SHAPE)
    assert len(table) == golden["n_weight_tensors"]
    assert sum(quantizer.bits <= 4 for quantizer in table.values()) == golden["n_tracked_at_max_bits_4"]


@pytest.mark.parametrize(("net", "case"), [(net, case) for net, case in CASES if "unsupported" in TABLES[net][case]])
def test_setups_that_the_original_lacks(net, case):
    """The classifier has 4 bits and the stem 8; with dw8 so have depthwise layers, of which a ResNet has none."""
    setup, bits = case.split("_w")
    weights = {
        path: found.weight for path, found in bit_table(made(net, setup, int(bits)), SHAPE).items() if found.weight
    }
    eight = {"stem/conv", *(path for path in weights if "/depthwise/" in path and setup == "fc4_dw8")}
    assert weights == {path: 8 if path in eight else int(bits) for path in weights} | {"classifier/dense": 4}


@functools.cache
def outputs(net):
    """(shapes of the parameters, of the outputs of every convolution) at 224."""
    model, shapes = made(net), variable_shapes(made(net), SHAPE)

    def run(variables):
        of_unit = {"capture_intermediates": lambda module, _: isinstance(module, ConvUnit)}
        return model.apply(variables, jnp.zeros((1, 224, 224, 3)), False, mutable=["intermediates"], **of_unit)[1]

    return shapes["params"], jax.eval_shape(run, shapes)["intermediates"]


@pytest.mark.parametrize("net", TABLES)
def test_shapes_and_order_of_the_layers_at_224(net):
    golden, (params, found) = TABLES[net]["all_w3"], outputs(net)
    rows = {row["name"]: row for row in golden["layers"]}
    layers = [path.split("/") for path, bits in bit_table(made(net), SHAPE).items() if bits.weight]
    for path, name in zip(layers, golden["order_executed"], strict=True):
        kernel = functools.reduce(lambda node, key: node[key], path, params)["kernel"].shape
        assert [*kernel[:-3:-1], *kernel[:-2]] == rows[name]["weight_shape"], name
        if path[0] != "classifier":
            [output] = functools.reduce(lambda node, key: node[key], path[:-1], found)["__call__"]
            batch, channels, *size = rows[name]["out_shape"]
            assert output.shape == (batch, *size, channels), name
