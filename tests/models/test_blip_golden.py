import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.quant import QUANTIZERS
from tests import vectors
from tests.models.blip_layout import columns, our_leaf, our_path, to_variables
from tests.models.whole_network import distance
from tests.torch_layout import to_image

ARCHITECTURES = vectors.document("blip_mini_architectures")
CONSTANTS = [row for row in vectors.document("blip_layer_constants")["rows"] if row["variant"] != "rl"]
FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)
FILES = vectors.names("blip_fisher_*")


def network(file):
    """The recorded network; the heads of its tasks are one classifier."""
    facts = vectors.scalars(file)
    outputs = sum(size for _, size in facts["taskcla"])
    if "ndim" in facts:
        return MODELS["mlp"](outputs, FLOAT, hidden=facts["ndim"])
    if "num_blocks" in facts:
        model = MODELS["resnet18_84"](outputs, FLOAT, mul=facts["mul"])
        return model.clone(blocks_of_stage=tuple(facts["num_blocks"]))
    return MODELS["alexnet_32"](outputs, FLOAT, mul=facts["mul"], hidden=facts["fc"][1])


def images(arrays):
    """The images that the logits are of, in their order."""
    x = arrays["x"].reshape(-1, *arrays["x"].shape[-3:])
    return to_image(x[arrays["perm"]] if "perm" in arrays else x)[: len(arrays["logits"])]


@pytest.mark.parametrize("file", FILES)
def test_logits_of_recorded_parameters(file):
    arrays, model = vectors.arrays(file), network(file)
    variables, image = to_variables(arrays), images(arrays)
    shapes = variable_shapes(model, image.shape[1:])
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    windows = (0, 4) if "resnet" in file else (None,)  # the original's window of 4x4 holds all of a last image of 4x4
    for window in windows:
        model = model if window is None else model.clone(window=window)
        logits = jax.jit(model.apply, static_argnums=2)(variables, image, False)
        assert distance(logits[:, columns(arrays, vectors.scalars(file)["task"])], arrays["logits"]) < 1e-5


MADE = {
    "alexnet_fp_mul1": ("alexnet_84", {"dropout": 0.2}),
    "q_alexnet_mul1": ("alexnet_84", {}),
    "q_resnet_mul1.5": ("resnet18_84", {"mul": 1.5, "window": 4}),
}


@functools.cache
def traced(case):
    """({path: (shape of the input, of the output) in torch's order}, rates of dropout, shapes of the variables)."""
    name, args = MADE[case]
    model, sizes, rates = MODELS[name](100, FLOAT, **args), {}, []

    def record(next_method, given, kwargs, context):
        result, layer = next_method(*given, **kwargs), context.module
        if isinstance(layer, nn.Dropout):
            rates.append(layer.rate)
        elif context.method_name == "__call__":
            sizes["/".join(layer.path)] = tuple(channels_first(x.shape) for x in (given[0], result))
        return result

    shapes = variable_shapes(model, (84, 84, 3))
    with nn.intercept_methods(record):
        jax.eval_shape(lambda v: model.apply(v, jnp.zeros((1, 84, 84, 3)), False), shapes)
    return sizes, rates, named_leaves(shapes)


def channels_first(shape):
    return [shape[0], shape[-1], *shape[1:-1]]


@pytest.mark.parametrize("case", MADE)
def test_shapes_of_every_layer(case):
    sizes, _, _ = traced(case)
    for name, (given, result) in ARCHITECTURES[case]["layer_io"].items():
        if name == "features.relu":  # its last call
            assert result == sizes["dense_1"][1]
        elif name == "features.maxpool":  # its last call, before the images are flattened
            assert given == sizes["convs_1"][1]
            assert [1, math.prod(result)] == sizes["dense_0"][0]
        elif name.startswith("classifier"):
            assert (given, [1, 20 * result[1]]) == sizes["classifier/dense"], name
        else:
            assert (given, result) == sizes[our_path(name, 2)], name


@pytest.mark.parametrize("case", MADE)
def test_shapes_and_number_of_the_parameters(case):
    _, _, leaves = traced(case)
    golden, heads, expected = ARCHITECTURES[case], {}, {}
    for name, shape in golden["parameters"].items():
        ours = (*shape[2:], *shape[1::-1]) if len(shape) > 1 else tuple(shape)
        path = our_leaf(name, len(shape), 2)
        if name.startswith("classifier"):
            heads[path] = heads.get(path, 0) + ours[-1]
            ours = (*ours[:-1], heads[path])
        expected[path] = ours
    found = {path: leaf.shape for path, leaf in leaves.items() if path.startswith("params/")}
    assert found == expected
    assert sum(map(math.prod, found.values())) == golden["total"]


@pytest.mark.parametrize("case", MADE)
def test_dropout_where_the_original_has_it(case):
    _, rates, _ = traced(case)
    golden = ARCHITECTURES[case]["dropout"]
    assert set(golden) in ({"features.drop1", "features.drop2"}, set())
    assert rates == [rate for name, rate in golden.items() for _ in range(2 if name == "features.drop1" else 3)]


@pytest.mark.parametrize(("case", "prior"), [("q_alexnet_mul1", 5e-16), ("q_resnet_mul1.5", 1e-16)])
def test_bounds_and_priors_are_of_our_fan_in(case, prior):
    _, _, leaves = traced(case)
    for name, bound in ARCHITECTURES[case]["bound"].items():
        fan_in = math.prod(leaves[our_leaf(f"{name}.weight", 2, 2)].shape[:-1])
        np.testing.assert_allclose(20 / math.sqrt(fan_in), bound, rtol=1e-12)
        np.testing.assert_allclose(prior * fan_in, ARCHITECTURES[case]["F_prior"][name], rtol=1e-12)


def alexnet(name, side, **args):
    return MODELS[name](2, FLOAT, **args), (side, side, 3)


# Of each layer of the constants file, by its shape: the smallest of our networks that has it, and where.
SMALLEST = {
    (1200, 784): (MODELS["mlp"](2, FLOAT), (28, 28, 1), "stem/dense"),
    (128, 3, 4, 4): (*alexnet("alexnet_32", 19, mul=2, hidden=4), "stem/conv"),
    (256, 128, 3, 3): (*alexnet("alexnet_32", 19, mul=2, hidden=4), "convs_0/conv"),
    (512, 2048): (*alexnet("alexnet_84", 35), "dense_1/dense"),
    (64, 3, 10, 10): (*alexnet("alexnet_84", 35), "stem/conv"),
    (192, 96, 1, 1): (
        MODELS["resnet18_84"](2, FLOAT, mul=1.5).clone(blocks_of_stage=(1, 1)),
        (8, 8, 3),
        "blocks_1/shortcut/conv",
    ),
}


def test_every_layer_of_the_constants_is_compared():
    assert {tuple(row["weight_shape"]) for row in CONSTANTS} == set(SMALLEST)


@pytest.mark.parametrize("row", CONSTANTS, ids=lambda row: str(row["bound"]))
def test_initialization_has_the_originals_distributions(row):
    model, shape, path = SMALLEST[tuple(row["weight_shape"])]
    leaves = named_leaves(initialize(model, 0, shape))
    kernel = np.asarray(leaves[f"params/{path}/kernel"])
    size = math.prod(row["weight_shape"])
    assert kernel.size == size
    # Six standard errors of the difference of two deviations.
    np.testing.assert_allclose(kernel.std(), row["init_weight_std"], rtol=6 / math.sqrt(size))
    largest, limit = np.abs(kernel).max(), math.prod(row["weight_shape"][1:]) ** -0.5
    assert largest <= row["bound"]
    assert (largest <= limit) == (row["init_weight_absmax"] <= limit * (1 + 1e-6))  # uniform, or normal
    bias = leaves.get(f"params/{path}/bias")
    assert (None if bias is None else not np.any(bias)) is row["init_bias_all_zero"]
