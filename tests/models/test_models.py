"""What every row of MODELS holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.layers.initial import TORCH_UNIFORM
from lifeq_jax.layers.quant import bit_table, observe_ranges, quantizer_table, traced
from lifeq_jax.layers.setups import ROLES, Quantizers, quantizers
from lifeq_jax.models import MODELS
from lifeq_jax.models.inverted_residual import BlockShape, InvertedResidualNetwork
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.models.mobilenet_v2 import relu6, scaled_features
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.codes import LEARNED, mask, quantize_kernels
from lifeq_jax.quant.rounding import identity

SMALL = {
    "alexnet_32": {"mul": 1 / 16, "hidden": 16},
    "alexnet_84": {"mul": 1 / 16},
    "atari": {"mul": 1 / 8, "hidden": 16},
    "efficientnet_lite0_32": {"width": 0.25},
    "minatar": {"features": 4, "hidden": 16},
    "mlp": {"hidden": 16, "layers": 3},
    "mobilenet_v2_32": {"width": 0.25},
    "mobilenet_v2_cifar": {"cfg": ((1, 8, 1, 1), (2, 8, 2, 2))},
    "mobilenet_v3_small_32": {"width": 0.25},
    "resnet18_32": {"width": 4},
    "resnet18_84": {"mul": 1 / 16},
    "resnet20": {"width": 4},
    "resnet56": {"width": 2},
    "resnet8": {"width": 4},
}
FEATURES = {
    "alexnet_32": 16,
    "alexnet_84": 512,
    "atari": 16,
    "efficientnet_lite0": 1280,
    "efficientnet_lite0_32": 320,
    "minatar": 16,
    "mlp": 16,
    "mobilenet_v2": 1280,
    "mobilenet_v2_32": 320,
    "mobilenet_v2_cifar": 1280,
    "mobilenet_v3_small": 1024,
    "mobilenet_v3_small_32": 256,
    "resnet18": 512,
    "resnet18_32": 32,
    "resnet18_84": 32,
    "resnet20": 16,
    "resnet50": 2048,
    "resnet56": 8,
    "resnet8": 16,
}
PARAMETERS = {
    "alexnet_32": 8_552_872,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite0_32": 4_652_008,
    "mlp": 4_888_600,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v2_32": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_small_32": 2_542_856,
    "resnet18": 11_689_512,
    "resnet20": 336_824,
    "resnet50": 25_557_032,
    "resnet56": 920_120,
    "resnet8": 142_392,
}
BLOCKS = (BlockShape(3, 8, 8, 1, jax.nn.relu, 8), BlockShape(5, 16, 8, 2, hard_swish))
SHAPE = (8, 8, 1)
LARGER = {"alexnet_32": (19, 19, 1), "alexnet_84": (35, 35, 1), "atari": (36, 36, 1)}  # the smallest that they take
POOLING = ["mobilenet_v2_cifar", "resnet8"]
COMPILED = ["alexnet_32", "inverted_residual", "mlp", *POOLING]  # the others are the same code at other depths
SETUPS = ["convolutions", "LSQ_paper", "LSQ"]  # one of each position
rows = pytest.mark.parametrize("name", sorted(MODELS))


def learning(bits):
    return QUANTIZERS["lsq"](bits, ranges="minmax")


@functools.cache  # equal networks, so that their layers are traced once
def of_setup(setup, weight_bits=4, act_bits=4):
    """proxq and activation for LifeQuant's setup, learned scales for the others."""
    if setup == "convolutions":
        return quantizers(setup, QUANTIZERS["proxq"], QUANTIZERS["activation"], weight_bits, act_bits)
    return quantizers(setup, learning, learning, weight_bits, act_bits)


def shape_of(name):
    return LARGER.get(name, SHAPE)


def small(name, of_role=None, **args):
    of_role = of_role or of_setup("convolutions")
    if name == "inverted_residual":  # what MobileNetV3 and EfficientNet-Lite are made of
        return InvertedResidualNetwork(3, of_role, 8, 1, BLOCKS, 16, relu6, hidden=8, **args)
    return MODELS[name](3, of_role, **SMALL.get(name, {}), **args)


@functools.cache
def calibrated(name, setup):
    """(model, its variables after a batch of calibration)."""
    model = small(name, of_setup(setup))
    state = initialize(model, 0, shape_of(name))
    _, params = jax.jit(lambda v, image: observe_ranges(model, v, {}, image))(state, images(shape=shape_of(name)))
    return model, {**state, "params": params}


def images(count=4, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(5).normal(size=(count, *shape)), jnp.float32)


def run(model, train):
    return lambda v, image: model.apply(v, image, train, mutable=["batch_stats"])


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_at_a_thousand_classes(name):
    shapes = variable_shapes(MODELS[name](1000, of_setup("convolutions")), (32, 32, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == PARAMETERS[name]


@rows
def test_shapes(name):
    model = small(name, of_setup("all"))

    def shapes(collections):
        feature = model.apply(collections, jnp.zeros((2, *shape_of(name))), False, method="features")
        return feature, model.apply(collections, feature, method="head")

    feature, head = jax.eval_shape(shapes, variable_shapes(model, shape_of(name)))
    assert feature.shape == (2, FEATURES.get(name, feature.shape[-1]))
    assert head.shape == (2, 3)
    assert head.dtype == jnp.float32


@pytest.mark.parametrize("name", [*COMPILED, "atari"])  # one of each class
def test_logits_have_a_column_for_each_class(name):
    model, image = small(name, of_setup("all")), jnp.zeros((2, *shape_of(name)))
    shapes = variable_shapes(model, shape_of(name))
    logits = jax.eval_shape(lambda collections: model.apply(collections, image, False), shapes)
    assert logits.shape == (2, 3)
    assert logits.dtype == jnp.float32


@rows
def test_under_convolutions_every_kernel_but_the_classifiers_is_quantized_and_nothing_else(name):
    model, shapes = small(name), variable_shapes(small(name), shape_of(name))
    found = mask(quantizer_table(model, shape_of(name)), shapes["params"])
    assert found == map_named(
        lambda leaf, _: leaf.endswith("/kernel") and not leaf.startswith("classifier/"), shapes["params"]
    )


@rows
def test_under_all_every_kernel_is_quantized_with_a_state_of_its_own(name):
    model = small(name, of_setup("all"))
    shapes = variable_shapes(model, shape_of(name))
    found = mask(quantizer_table(model, shape_of(name)), shapes["params"])
    assert found == map_named(lambda leaf, _: leaf.endswith("/kernel"), shapes["params"])
    learned = {path for path, bits in bit_table(model, shape_of(name)).items()}
    for path in learned:
        layer = functools.reduce(lambda node, key: node[key], path.split("/"), shapes["params"])
        assert layer[LEARNED].keys() == {"scale", "low"}, path


@rows
@pytest.mark.parametrize("weight_bits", [4, 32])
def test_float_model_has_no_table(name, weight_bits):
    model = small(name, of_setup("LSQ", weight_bits, 36 - weight_bits))
    table = bit_table(model, shape_of(name))
    weights = {bits.weight for bits in table.values()} - {None}
    activations = {bits.activation for bits in table.values()} - {None}
    assert weights == ({32} if weight_bits == 32 else {4, 8})
    assert activations == ({4, 8, 32} if weight_bits == 32 else {32})


@rows
def test_fresh_parameters_are_what_their_layers_state(name):
    model, shape, own = small(name), shape_of(name), {}

    def record(next_method, args, kwargs, context):
        if context.method_name == "param":  # (name, initializer, shape, ...)
            own["/".join(("params", *context.module.path, args[0]))] = args[1]
        return next_method(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
    stated = traced(model, shape).initial
    assert set(stated) == set(named_leaves(variable_shapes(model, shape))) and set(own) <= set(stated)
    assert all(stated[leaf] == initial for leaf, initial in own.items())


@pytest.mark.parametrize("name", [*COMPILED, "atari", "resnet18_84"])  # one of each kind of initializer
def test_fresh_parameters_are_drawn_as_stated(name):
    model, shape = small(name), shape_of(name)
    stated = traced(model, shape).initial
    for leaf, value in named_leaves(initialize(model, 0, shape)).items():
        if not leaf.endswith("/kernel"):
            np.testing.assert_array_equal(value, 1.0 if leaf.endswith(("/scale", "/var")) else 0.0, leaf)
            continue
        if not hasattr(stated[leaf], "fan"):  # orthogonal: its norm is known
            wanted = stated[leaf](jax.random.key(0), value.shape, jnp.float32)
            np.testing.assert_allclose(np.linalg.norm(value), np.linalg.norm(wanted), rtol=1e-4, err_msg=leaf)
            continue
        fan = value.size // value.shape[-1 if stated[leaf].fan == "fan_in" else -2]
        deviation = (stated[leaf].scale / fan) ** 0.5
        assert abs(np.std(value) / deviation - 1) < 6 / (2 * value.size) ** 0.5, leaf
        assert abs(np.mean(value)) < 6 * deviation / value.size**0.5, leaf


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "mobilenet_v2_cifar"])
def test_lifequant_and_climbq_start_from_the_defaults_of_torch(name):
    own = {} if name == "mobilenet_v2_cifar" else {"init": "torch"}
    model = MODELS[name](
        5, Quantizers("output", lambda role: identity(), lambda role: identity()), **SMALL[name], **own
    )
    kernels = {leaf for leaf in named_leaves(variable_shapes(model, (8, 8, 3))) if leaf.endswith("/kernel")}
    stated = traced(model, (8, 8, 3)).initial
    assert {stated[leaf] for leaf in kernels} == {TORCH_UNIFORM}


def test_an_unknown_initialization_is_refused():
    with pytest.raises(Refusal, match="model.args.init='xavier' is unknown; choose from he, torch"):
        MODELS["resnet20"](5, Quantizers("output", lambda role: identity(), lambda role: identity()), init="xavier")


@functools.cache
def roles(name, position="output"):
    """The role that each quantizing layer of a network has asked for, and how many parts it has asked for."""

    def marked(role):
        return identity()._replace(bits=ROLES.index(role))

    model = small(name, Quantizers(position, marked, marked))
    table = bit_table(model, shape_of(name))
    return {path: ROLES[bits.weight if bits.activation is None else bits.activation] for path, bits in table.items()}


@rows
def test_the_roles_that_occur_once(name):
    found = roles(name)
    for role, owner in (("first", "stem"), ("classifier", "classifier")):
        owners = {path.partition("/")[0] for path, other in found.items() if other == role}
        assert owners == {owner}
        assert found[f"{owner}/act"] == role
    last = {path.rpartition("/")[0] for path, role in found.items() if role == "last"}
    assert len(last) == 1
    depthwise = {path for path in found if "/depthwise/" in path}
    assert {path for path, role in found.items() if role == "depthwise"} == depthwise


@pytest.mark.parametrize("name", ["resnet8", "resnet18_32", "resnet18_84", "resnet50"])
def test_the_last_block_of_a_resnet(name):
    found = roles(name)
    last = {path for path, role in found.items() if role in ("last", "last_sum")}
    block, unit = {"resnet8": (2, 1), "resnet50": (15, 2)}.get(name, (7, 1))
    prefix = f"blocks_{block}"
    assert last == {f"{prefix}/units_{unit}/conv", f"{prefix}/units_{unit}/act", f"{prefix}/sum"}
    assert found[f"{prefix}/sum"] == "last_sum"
    assert all(found[f"blocks_{index}/sum"] == "sum" for index in range(block))


@rows
def test_position_input_has_an_activation_quantizer_before_every_layer(name):
    found = roles(name, "input")
    layers = {path.rpartition("/")[0] for path in found if path.endswith(("/conv", "/dense"))}
    without = {layer for layer in layers if f"{layer}/act" not in found}
    assert without == ({"blocks_0/shortcut", "blocks_2/shortcut"} if name == "mobilenet_v2_cifar" else set())


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("setup", SETUPS)
def test_float_model_on_quantized_params_is_the_quantized_model(name, setup):
    model, state = calibrated(name, setup)
    floating, image = small(name, of_setup(setup, 32)), images(shape=shape_of(name))
    weights = jax.jit(lambda p: quantize_kernels(quantizer_table(model, shape_of(name)), p))(state["params"])
    for train in (False, True):
        expected = jax.jit(run(model, train))(state, image)[0]
        given = jax.jit(run(floating, train))
        np.testing.assert_array_equal(given({**state, "params": weights}, image)[0], expected)
    # in training mode, where features are not near 0 as with the running statistics of a fresh network
    assert np.any(given(state, image)[0] != expected)


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("setup", SETUPS)
def test_training_moves_the_parameters_with_one_trace(name, setup):
    (model, state), label, traces = calibrated(name, setup), jnp.array([0, 1, 2, 0]), []

    @jax.jit
    def gradient(params, image):
        traces.append(1)

        def loss(p):
            logits, _ = run(model, True)({**state, "params": p}, image)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

        return jax.grad(loss)(params)

    found = gradient(state["params"], images(shape=shape_of(name)))
    gradient(state["params"], images(shape=shape_of(name)) + 1)
    assert len(traces) == 1
    moved = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.all(np.isfinite(leaf)), path
        moved[jax.tree_util.keystr(path)] = bool(np.any(leaf != 0))
    still = [path for path, moves in moved.items() if not moves and "'low'" not in path]
    assert len(still) < 0.1 * len(moved), still


@pytest.mark.parametrize("setup", ["convolutions", "LSQ"])
def test_jit_equals_eager(setup):
    model, state = calibrated("resnet8", setup)
    found, expected = jax.jit(run(model, False))(state, images(1))[0], run(model, False)(state, images(1))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("setup", ["convolutions", "LSQ"])
def test_pmap_with_synchronized_norm_equals_single(setup):
    _, state = calibrated("resnet8", setup)
    # Float activations: next to a tie one rounds either way with the order of the sums, which differs.
    of_role, image = of_setup(setup, 4, 32), images(8)
    model, parallel = small("resnet8", of_role), small("resnet8", of_role, axis_name="devices")
    sharded = jax.pmap(functools.partial(run(parallel, True), state), "devices")
    logits, after = sharded(image.reshape(4, 2, *SHAPE))
    expected, expected_after = jax.jit(run(model, True))(state, image)
    np.testing.assert_allclose(logits.reshape(8, 3), expected, rtol=1e-3, atol=1e-4)
    found = jax.tree.map(lambda leaf: leaf[2], after)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected_after), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", POOLING)
def test_the_pooled_feature_is_on_the_grid_of_what_was_pooled(name):
    def feature(setup):
        of_role = quantizers(setup, QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 2)
        model, state = small(name, of_role), initialize(small(name, of_role), 0, SHAPE)
        apply = functools.partial(model.apply, train=True, method="features", mutable=["batch_stats"])
        return jax.jit(apply)(state, images())[0]

    steps = 3 * feature("all")  # integers 0..3: two bits on [0, 1]
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
    assert len(np.unique(np.round(steps))) > 1
    elsewhere = 3 * feature("convolutions")
    assert np.any(np.abs(elsewhere - np.round(elsewhere)) > 0.01)


def test_relu6_has_no_gradient_at_its_bounds():
    x = jnp.array([-1.0, 0.0, 3.0, 6.0, 7.0])
    y, pullback = jax.vjp(relu6, x)
    np.testing.assert_array_equal(y, [0, 0, 3, 6, 6])
    np.testing.assert_array_equal(pullback(jnp.ones(5))[0], [0, 0, 1, 0, 0])


@pytest.mark.parametrize(
    ("features", "width", "expected"),
    [(32, 1.0, 32), (32, 0.35, 16), (16, 0.5, 8), (24, 0.5, 16), (320, 0.75, 240), (1280, 1.4, 1792), (16, 0.01, 8)],
)
def test_features_are_multiples_of_eight(features, width, expected):
    assert scaled_features(features, width) == expected


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_a_width_that_is_no_factor_is_refused(width):
    with pytest.raises(Refusal, match=f"recipe.model width={width} is not a factor of the features"):
        MODELS["mobilenet_v2_32"](10, of_setup("all"), width=width)


@pytest.mark.parametrize(("width", "count"), [(0.5, 1_968_680), (1.4, 6_108_776)])
def test_widths_of_mobilenet_v2_are_the_published_ones(width, count):  # the counts of timm's mobilenetv2_050 and _140
    shapes = variable_shapes(MODELS["mobilenet_v2"](1000, of_setup("all"), width=width), (32, 32, 3))["params"]
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes) if leaf.shape]
    assert sum(sizes) == count
