"""What every row of MODELS holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.layers.quant import quantize_params, quantized_mask, quantizer_table
from lifeq_jax.models import MODELS, mobilenet_v2
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.quant import QUANTIZERS

SMALL = {
    "mobilenet_v2_cifar": {"cfg": ((1, 8, 1, 1), (2, 8, 2, 2))},
    "resnet20": {"width": 4},
    "resnet56": {"width": 2},
    "resnet8": {"width": 4},
}
FEATURES = {
    "mobilenet_v2": 1280,
    "mobilenet_v2_cifar": 1280,
    "resnet20": 16,
    "resnet50": 2048,
    "resnet56": 8,
    "resnet8": 16,
}
PARAMETERS = {
    "mobilenet_v2": 3_504_872,
    "resnet20": 336_824,
    "resnet50": 25_557_032,
    "resnet56": 920_120,
    "resnet8": 142_392,
}
SHAPE = (8, 8, 1)
COMPILED = [
    "mobilenet_v2_cifar",
    "resnet20",
]  # the others are the same code at other depths, minutes to compile
rows = pytest.mark.parametrize("name", sorted(MODELS))


def small(name, bits=4, **args):
    make = MODELS[name]
    return make(3, QUANTIZERS["proxq"](bits), QUANTIZERS["activation"](4), **SMALL.get(name, {}), **args)


@functools.cache
def variables(name):
    return initialize(small(name), 0, SHAPE)


def images(count=4):
    return jnp.asarray(np.random.default_rng(5).normal(size=(count, *SHAPE)), jnp.float32)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_at_a_thousand_classes(name, count):
    model = MODELS[name](1000, QUANTIZERS["proxq"](4), QUANTIZERS["activation"](4))
    shapes = variable_shapes(model, (32, 32, 3))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@rows
@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)])
def test_shapes(name, shape):
    model = small(name)

    def run():
        image = jnp.zeros((2, *shape))
        collections = model.init(jax.random.key(0), image, train=False)
        feature = model.apply(collections, image, False, method="features")
        return (
            feature,
            model.apply(collections, feature, method="head"),
            model.apply(collections, image, False),
        )

    feature, head, logits = jax.eval_shape(run)
    assert feature.shape == (2, FEATURES[name])
    assert head.shape == logits.shape == (2, 3)
    assert logits.dtype == jnp.float32


@rows
def test_every_convolution_is_quantized_and_nothing_else(name):
    model, shapes = small(name), variable_shapes(small(name), SHAPE)
    mask = quantized_mask(quantizer_table(model, shapes, SHAPE), shapes["params"])
    assert mask == jax.tree.map(lambda leaf: len(leaf.shape) == 4, shapes["params"])


@rows
def test_float_model_has_no_table(name):
    assert quantizer_table(small(name, 32), variable_shapes(small(name, 32), SHAPE), SHAPE) == {}


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("train", [False, True])
def test_float_model_on_quantized_params_is_the_quantized_model(name, train):
    state, image = variables(name), images()

    def run(model):
        return jax.jit(lambda v: model.apply(v, image, train, mutable=["batch_stats"])[0])

    table = quantizer_table(small(name), state, SHAPE)
    weights = jax.jit(lambda p: quantize_params(table, p))(state["params"])
    expected = run(small(name))(state)
    np.testing.assert_array_equal(run(small(name, 32))({**state, "params": weights}), expected)
    assert np.any(run(small(name, 32))(state) != expected)


@pytest.mark.parametrize("name", COMPILED)
def test_training_moves_every_parameter_with_one_trace(name):
    model, state, label, traces = small(name), variables(name), jnp.array([0, 1, 2, 0]), []

    @jax.jit
    def gradient(params, image):
        traces.append(1)

        def loss(p):
            logits, _ = model.apply({**state, "params": p}, image, True, mutable=["batch_stats"])
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

        return jax.grad(loss)(params)

    found = gradient(state["params"], images())
    gradient(state["params"], images() + 1)
    assert len(traces) == 1
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.all(np.isfinite(leaf)), path
    moved = [bool(np.any(leaf != 0)) for leaf in jax.tree.leaves(found)]
    assert np.mean(moved) > 0.9


def test_pmap_with_synchronized_norm_equals_single():
    name, image = "resnet20", images(8)
    state = variables(name)

    def run(model):
        return lambda x: model.apply(state, x, True, mutable=["batch_stats"])

    logits, after = jax.pmap(run(small(name, axis_name="devices")), "devices")(image.reshape(4, 2, *SHAPE))
    expected, expected_after = jax.jit(run(small(name)))(image)
    np.testing.assert_allclose(logits.reshape(8, 3), expected, rtol=1e-3, atol=1e-4)
    found = jax.tree.map(lambda leaf: leaf[2], after)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected_after), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_relu6_has_no_gradient_at_its_bounds():
    x = jnp.array([-1.0, 0.0, 3.0, 6.0, 7.0])
    y, pullback = jax.vjp(mobilenet_v2.relu6, x)
    np.testing.assert_array_equal(y, [0, 0, 3, 6, 6])
    np.testing.assert_array_equal(pullback(jnp.ones(5))[0], [0, 0, 1, 0, 0])
