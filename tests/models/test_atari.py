import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.layers.taps import squared_gradients
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.bit_alloc import layer_constants
from tests import vectors
from tests.models.blip_layout import channels_last
from tests.torch_layout import to_array, to_image

FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)
ORIGINAL = vectors.document("blip_rl_qpolicy_shapes")
LAYERS = {"main.0": "stem/conv", "main.2": "convs_0/conv", "main.4": "convs_1/conv", "main.7": "dense/dense"}
ACTIONS = (14, 18, 18, 18, 18, 6)
GAMES = len(ACTIONS)


def to_params(arrays):
    """The original's parameters, in its names and order, as ours: policies of all games, then their values."""
    tree, heads = {}, {"weight": [], "bias": []}
    for name, value in arrays.items():
        module, _, last = name.removeprefix("features.").rpartition(".")
        if module not in LAYERS:
            heads[last].append((module.startswith("critic"), value))
            continue
        value = channels_last(value, 128) if module == "main.7" and value.ndim > 1 else value
        layer, part = LAYERS[module].split("/")
        tree.setdefault(layer, {}).setdefault(part, {})["kernel" if last == "weight" else "bias"] = to_array(value)
    parts = {last: [value for _, value in sorted(each, key=lambda one: one[0])] for last, each in heads.items()}
    if parts["weight"]:
        dense = {"kernel": to_array(np.concatenate(parts["weight"])), "bias": to_array(np.concatenate(parts["bias"]))}
        tree["classifier"] = {"dense": dense}
    return tree


def closed_form():
    """The full-size parameters of the golden file, which their number and place give."""
    arrays = {}
    for number, name in enumerate(ORIGINAL["parameter_order"]):
        shape = ORIGINAL["parameters"][name]
        index = np.arange(math.prod(shape))
        scale = 1.2 / math.sqrt(math.prod(shape[1:])) if name.endswith("weight") else 0.05
        values = scale * np.cos(0.37 * index + 1.3 * number + 0.11 * (index % 7))
        arrays[name] = values.astype(np.float32).reshape(shape)
    return arrays


def image_of(arrays):
    return to_image(arrays["obs"].astype(np.float32)) / 255


def test_features_of_recorded_parameters(golden):
    arrays = golden("blip_rl_qcnn")
    params = to_params({key.removeprefix("a_param_"): arrays[key] for key in arrays if key.startswith("a_param_")})
    model, seen = MODELS["atari"](1, FLOAT, hidden=8), {}

    def features(params, image):
        return model.apply({"params": params}, image, False, method="features", capture_intermediates=True)

    found, state = jax.jit(features)(params, image_of(arrays))
    np.testing.assert_allclose(found, arrays["a_features"], rtol=1e-4, atol=1e-5)
    seen = {name: state["intermediates"][name]["__call__"][0] for name in ("stem", "convs_0", "convs_1")}
    for name, key in (("stem", "a_act1_mean_c"), ("convs_0", "a_act3_mean_c"), ("convs_1", "a_act5_mean_c")):
        np.testing.assert_allclose(seen[name].mean((1, 2)), arrays[key], rtol=1e-4, atol=1e-6)


def test_policies_and_values_of_the_full_size(golden):
    arrays, params = golden("blip_rl_qcnn"), to_params(closed_form())
    model = MODELS["atari"](sum(ACTIONS) + GAMES, FLOAT, num_values=GAMES)
    shapes = variable_shapes(model, (84, 84, 4))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == ORIGINAL["total_parameters"]
    outputs = jax.jit(lambda params, image: model.apply({"params": params}, image, False))(params, image_of(arrays))
    first = np.cumsum([0, *ACTIONS])
    for game, (low, high) in enumerate(zip(first, first[1:], strict=False)):
        log_probs = jax.nn.log_softmax(outputs[:, low:high])
        np.testing.assert_allclose(log_probs, arrays[f"b_logits{game}"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(log_probs.argmax(1), arrays[f"b_mode{game}"][:, 0])
        np.testing.assert_allclose(outputs[:, first[-1] + game], arrays[f"b_value{game}"][:, 0], rtol=1e-4, atol=1e-5)


def test_bounds_and_priors_of_the_original():
    shapes = named_leaves(variable_shapes(MODELS["atari"](2, FLOAT), (84, 84, 4))["params"])
    for module, given in ORIGINAL["modules"].items():
        kernel = shapes[f"{LAYERS[module.removeprefix('features.')]}/kernel"]
        known = layer_constants(kernel.shape, 5e-18, widest=True)
        np.testing.assert_allclose(known, (given["bound"], given["F_prior"]), rtol=1e-12)


@pytest.fixture(scope="module", params=["NumPy", "Flax"])
def fresh(request):
    model = MODELS["atari"](9 + 2, FLOAT, num_values=2, mul=0.5, convolutions=2, hidden=64)
    if request.param == "Flax":
        return named_leaves(model.init(jax.random.key(0), jnp.zeros((1, 42, 42, 4)), False)["params"])
    return named_leaves(initialize(model, 0, (42, 42, 4))["params"])


def test_layers_start_orthogonal(fresh):
    for name in ("stem/conv", "convs_0/conv", "dense/dense"):
        kernel = fresh[f"{name}/kernel"].reshape(-1, fresh[f"{name}/kernel"].shape[-1])
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(kernel.shape[1]), atol=1e-5)
        assert not fresh[f"{name}/bias"].any()


def test_heads_start_orthogonal_policies_small_and_values_of_length_one(fresh):
    kernel = fresh["classifier/dense/kernel"]
    expected = np.diag([1e-4] * 9 + [1.0] * 2)
    np.testing.assert_allclose(kernel.T @ kernel, expected, atol=1e-6)
    assert not fresh["classifier/dense/bias"].any()


def test_squared_gradients_of_single_examples_are_known():
    """So that a Fisher information takes one pass, not one an example."""
    model = MODELS["minatar"](5, FLOAT, features=4, hidden=8)
    image = jax.random.uniform(jax.random.key(1), (3, 6, 6, 2))
    params = model.init(jax.random.key(0), image, False)["params"]

    def apply(params, image):
        return model.apply({"params": params}, image, False)

    def values(outputs):
        return jax.nn.logsumexp(outputs, axis=1) - outputs[:, 0]

    found = squared_gradients(apply, params, image, values, jnp.ones(3))
    alone = [jax.grad(lambda p, one=one: values(apply(p, one[None]))[0])(params) for one in image]
    expected = jax.tree.map(lambda *g: sum(map(jnp.square, g)), *alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9), found, expected)


@pytest.mark.parametrize(
    ("make", "shape", "says"),
    [
        (
            lambda: MODELS["atari"](5, FLOAT),
            (35, 35, 4),
            "games.image of 35x35 is too small for the model; choose 36x36 up",
        ),
        (
            lambda: MODELS["minatar"](5, FLOAT),
            (2, 9, 1),
            "games.image of 2x9 is too small for the model; choose 3x3 up",
        ),
        (
            lambda: MODELS["atari"](5, FLOAT, convolutions=4),
            (84, 84, 4),
            "recipe.model convolutions=4 is no number of layers; choose 1, 2 or 3",
        ),
        (
            lambda: MODELS["atari"](5, FLOAT, mul=0.01),
            (84, 84, 4),
            "recipe.model leaves a layer without features; choose larger arguments",
        ),
    ],
)
def test_refusals(make, shape, says):
    with pytest.raises(Refusal) as refused:
        variable_shapes(make(), shape)
    assert str(refused.value) == says
