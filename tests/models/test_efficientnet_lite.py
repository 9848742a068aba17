import json

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.layers.quant import bit_table
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.efficientnet_lite import efficientnet_lite0, efficientnet_lite0_32
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.quant.rounding import identity
from tests.conftest import GOLDEN

GOLDEN_TABLES = json.loads((GOLDEN / "osc_bit_tables.json").read_text())["efficientnet_lite0"]
SUPPORTED = [key for key, value in GOLDEN_TABLES.items() if "unsupported" not in value]


def network(model, setup="LSQ", bits=4, classes=1000, **args):
    return model(classes, quantizers(setup, *[lambda bits: identity()._replace(bits=bits)] * 2, bits, bits), **args)


def golden_bits(name):
    """(weight bits, activation bits) of the layers, bits of the residual sums, in the order executed; 32: float."""
    table = GOLDEN_TABLES[name]
    if "layers" in table:
        weights = [layer["weight_bits"] for layer in table["layers"]]
        acts = [layer["act_bits"] for layer in table["layers"]]
        modules = {module["name"]: module["act_bits"] for module in table["activation_modules"]}
    else:
        weights, acts = list(table["weight_bits"].values()), list(table["act_bits"].values())
        modules = {module: bits for module, (bits, _) in table["activation_modules"].items()}
    residual = [module["name"] for module in GOLDEN_TABLES["all_w3"]["activation_modules"] if module["residual"]]
    return weights, [bits or 32 for bits in acts], [modules[module] or 32 for module in residual]


@pytest.mark.parametrize("name", SUPPORTED)
def test_bits_equal_the_original(name):
    setup, _, bits = name.rpartition("_w")
    model = network(efficientnet_lite0, setup, int(bits))
    found = bit_table(model, (32, 32, 3))
    weights = [layer.weight for layer in found.values() if layer.weight is not None]
    acts = [layer.activation for path, layer in found.items() if path.endswith("/act")]
    sums = [layer.activation for path, layer in found.items() if path.endswith("/sum")]
    assert len(found) == len(weights) + len(acts) + len(sums)
    assert (weights, acts, sums) == golden_bits(name)


def test_the_order_and_the_shapes_are_the_original_ones():
    model = network(efficientnet_lite0)
    shapes = variable_shapes(model, (32, 32, 3))
    found = bit_table(model, (32, 32, 3))
    kernels = []
    for path in [path for path, layer in found.items() if layer.weight is not None]:
        layer = shapes["params"]
        for key in path.split("/"):
            layer = layer[key]
        shape = layer["kernel"].shape
        kernels.append([*shape[:-3:-1], *shape[:-2]])
    assert kernels == [layer["weight_shape"] for layer in GOLDEN_TABLES["all_w3"]["layers"]]


def test_setups_that_the_original_lacks():
    unsupported = sorted(set(GOLDEN_TABLES) - set(SUPPORTED))
    assert unsupported == ["fc4_dw8_w3", "fc4_dw8_w4", "fc4_w3", "fc4_w4"]
    model = network(efficientnet_lite0, "fc4_dw8", 3)
    found = bit_table(model, (32, 32, 3))
    assert {layer.weight for path, layer in found.items() if path.endswith("depthwise/conv")} == {8}
    assert found["classifier/dense"].weight == 4
    assert found["stem/conv"].weight == 8


@pytest.mark.parametrize("model", [efficientnet_lite0, efficientnet_lite0_32])
def test_parameters_are_those_published(model):
    params = variable_shapes(network(model), (32, 32, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4_652_008


@pytest.mark.parametrize(("model", "stem", "last"), [(efficientnet_lite0, 32, 1280), (efficientnet_lite0_32, 8, 320)])
def test_width(model, stem, last):
    params = variable_shapes(network(model, width=0.25), (32, 32, 3))["params"]
    assert params["stem"]["conv"]["kernel"].shape == (3, 3, 3, stem)
    assert params["blocks_5"]["project"]["conv"]["kernel"].shape == (
        1,
        1,
        6 * 16,
        24,
    )  # 40 / 4 = 10 -> 16, as 8 is below 0.9 * 10; 80 / 4 = 20 -> 24
    assert params["last"]["conv"]["kernel"].shape == (1, 1, 80, last)


def test_forms_differ_in_strides_only():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def size(model):
        run = network(model)
        _, found = jax.eval_shape(
            lambda x: run.init_with_output(jax.random.key(0), x, train=False, capture_intermediates=True), image
        )
        return found["intermediates"]["last"]["__call__"][0].shape[1]

    assert (size(efficientnet_lite0), size(efficientnet_lite0_32)) == (1, 4)
