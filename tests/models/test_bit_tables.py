"""The bits of every layer under every setup, against the original networks."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.layers.quant import LayerBits, bit_table, quantizer_table
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.quant import QUANTIZERS
from tests.conftest import GOLDEN

TABLES = json.loads((GOLDEN / "osc_bit_tables.json").read_text())
CASES = [(net, case) for net in ("mobilenet_v2", "resnet18") for case in TABLES[net]]
SHAPE = (32, 32, 3)


def our_path(net, name):
    """'blocks_0/depthwise' for 'features.1.conv.0' of MobileNetV2, 'blocks_3/sum' for the module of a block."""
    ends = {"features.0.0": "stem", "features.18.0": "last", "classifier.1": "classifier"}
    if net == "resnet18":
        ends = {"features.0": "stem", "fc": "classifier"}
    if name in ends:
        return ends[name]
    if net == "mobilenet_v2":
        block, part = re.fullmatch(r"features\.(\d+)(?:\.conv\.(\d))?", name).groups()
        parts = ("depthwise", "project") if block == "1" else ("expand", "depthwise", "project")
        return f"blocks_{int(block) - 1}/{'sum' if part is None else parts[int(part)]}"
    stage, index, part = re.fullmatch(r"features\.(\d)\.(\d)(?:\.(.*))?", name).groups()
    parts = {None: "sum", "features.0": "units_0", "features.1": "units_1", "downsample.0": "shortcut"}
    return f"blocks_{2 * (int(stage) - 2) + int(index)}/{parts[part]}"


def layer_bits(golden):
    """{layer: (weight bits, activation bits)}, {module: (activation bits, module it is tied to)}; None: float."""
    if "layers" in golden:
        layers = {row["name"]: (row["weight_bits"], row["act_bits"]) for row in golden["layers"]}
        modules = {row["name"]: (row["act_bits"], row.get("tied_to")) for row in golden["activation_modules"]}
        return layers, modules
    weights, acts = golden["weight_bits"], golden["act_bits"]
    return {name: (weights[name], acts[name]) for name in weights}, golden["activation_modules"]


def called(net):
    """Names of the modules whose quantizer is called: residual additions; pooling has its tensor's quantizer."""
    return [row["name"] for row in TABLES[net]["all_w3"]["activation_modules"] if row["used_in_forward"]]


def expected_table(net, golden):
    layers, modules = layer_bits(golden)
    expected = {}
    for name, (weight, act) in layers.items():
        path = our_path(net, name)
        expected[f"{path}/{'dense' if path == 'classifier' else 'conv'}"] = LayerBits(weight, None)
        expected[f"{path}/act"] = LayerBits(None, act or 32)
    for name in called(net):
        act, tied = modules.get(name, (None, None))
        if not tied and name not in ("avgpool", "features.19"):
            expected[our_path(net, name)] = LayerBits(None, act or 32)
    return expected


@functools.cache
def shapes(net):
    return variable_shapes(made(net, "all", 3), SHAPE)


def made(net, setup, bits):
    return MODELS[net](1000, quantizers(setup, QUANTIZERS["minmax"], QUANTIZERS["activation"], bits, bits))


@pytest.mark.parametrize(("net", "case"), CASES)
def test_bits_are_the_originals(net, case):
    golden, (setup, bits) = TABLES[net][case], case.split("_w")
    model = made(net, setup, int(bits))
    found = bit_table(model, SHAPE)
    if "unsupported" in golden:  # depthwise layers in 8 bits: ResNet-18 has none
        assert (net, setup) == ("resnet18", "fc4_dw8")
        assert found == bit_table(made(net, "fc4", int(bits)), SHAPE)
        return
    assert found == expected_table(net, golden)
    table = quantizer_table(model, SHAPE)
    assert len(table) == golden["n_weight_tensors"]
    assert sum(quantizer.bits <= 4 for quantizer in table.values()) == golden["n_tracked_at_max_bits_4"]


@pytest.mark.parametrize(("net", "case"), [(net, case) for net, case in CASES if not case.startswith("LSQ_paper")])
def test_pooling_is_tied_to_the_tensor_that_is_pooled(net, case):
    _, modules = layer_bits(TABLES[net][case]) if "unsupported" not in TABLES[net][case] else (None, {})
    ties = {name: our_path(net, tied) for name, (_, tied) in modules.items() if tied}
    pooled = {"mobilenet_v2": {"features.19": "last"}, "resnet18": {"avgpool": "blocks_7/sum"}}[net]
    assert ties == (pooled if modules else {})


@pytest.mark.parametrize("net", ["mobilenet_v2", "resnet18"])
def test_shapes_and_order_of_the_layers_at_224(net):
    golden, model = TABLES[net]["all_w3"], made(net, "all", 3)

    def run(variables):
        def is_unit(module, _):
            return isinstance(module, ConvUnit)

        image = jnp.zeros((1, 224, 224, 3))
        return model.apply(variables, image, False, capture_intermediates=is_unit, mutable=["intermediates"])[1]

    outputs = jax.eval_shape(run, shapes(net))["intermediates"]
    order = [our_path(net, name) for name in golden["order_executed"]]
    layers = bit_table(model, SHAPE)
    assert [path.rpartition("/")[0] for path, bits in layers.items() if bits.weight] == order
    for row in golden["layers"]:
        *path, leaf = our_path(net, row["name"]).split("/")
        params, found = shapes(net)["params"], outputs
        for key in path:
            params, found = params[key], found[key]
        if leaf == "classifier":
            assert params[leaf]["dense"]["kernel"].shape[::-1] == tuple(row["weight_shape"])
            continue
        height, width, inputs, features = params[leaf]["conv"]["kernel"].shape
        assert [features, inputs, height, width] == row["weight_shape"], row["name"]
        batch, channels, *size = row["out_shape"]
        assert found[leaf]["__call__"][0].shape == (batch, *size, channels), row["name"]
