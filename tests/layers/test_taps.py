"""Squared gradients layer by layer, against a gradient of every single example."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.layers import taps
from lifeq_jax.layers.initial import LECUN_NORMAL
from lifeq_jax.layers.quant import QuantDense
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.layers.taps import squared_gradients
from lifeq_jax.models import MODELS
from lifeq_jax.models.inverted_residual import BlockShape, InvertedResidualNetwork, hard_sigmoid
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.quant import QUANTIZERS

CLASSES, BATCH = 3, 4
WEIGHT = jnp.array([1.0, 2.0, 0.0, 1.0])
LABEL = jnp.array([0, 2, 1, 1])


def setup(weight=32, act=32, weight_name="proxq", act_name="activation", **args):
    return quantizers("convolutions", QUANTIZERS[weight_name], partial(QUANTIZERS[act_name], **args), weight, act)


FLOAT = setup()
SQUEEZED = (BlockShape(3, 16, 8, 2, nn.relu, 8), BlockShape(5, 24, 8, 1, nn.relu))
NETWORKS = {
    "mlp": (MODELS["mlp"](CLASSES, FLOAT, hidden=4, layers=2), 4),
    "alexnet_32": (MODELS["alexnet_32"](CLASSES, FLOAT, mul=1 / 32, hidden=6), 19),
    "resnet18_84": (MODELS["resnet18_84"](CLASSES, FLOAT, mul=1 / 16).clone(blocks_of_stage=(1, 1)), 9),
    "resnet50": (MODELS["resnet50"](CLASSES, FLOAT).clone(width=2, blocks_of_stage=(1, 1)), 16),
    "mobilenet_v2_cifar": (MODELS["mobilenet_v2_cifar"](CLASSES, FLOAT, cfg=((1, 4, 1, 1), (2, 4, 1, 2))), 6),
    "squeezed, of MobileNetV3": (InvertedResidualNetwork(CLASSES, FLOAT, 8, 1, SQUEEZED, 8, hard_sigmoid, hidden=8), 6),
}


def drawn(model, side):
    """Random variables, statistics included, and images."""
    random = np.random.default_rng(0)

    def values(name, leaf):
        if name.endswith(("scale", "var")):
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return jnp.asarray(random.normal(0, fan_in**-0.5, leaf.shape), jnp.float32)

    variables = map_named(values, variable_shapes(model, (side, side, 2)))
    image = jnp.asarray(random.normal(size=(BATCH, side, side, 2)), jnp.float32)
    return variables["params"], variables["batch_stats"], image


def losses(logits, label=LABEL):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), label.reshape(-1, 1), axis=1)[:, 0]


def forward(model, batch_stats):
    return lambda params, image: model.apply({"params": params, "batch_stats": batch_stats}, image, False)


def one_by_one(apply, params, image):
    """sum_b weight_b (gradient of example b alone)^2."""
    gradient = jax.grad(lambda p, x, y: losses(apply(p, x[None]), y[None])[0])
    each = jax.jit(lambda p: jax.lax.map(lambda example: gradient(p, *example), (image, LABEL)))(params)
    return jax.tree.map(lambda leaf: np.einsum("b...,b->...", np.square(leaf), WEIGHT), each)


def by_layer(apply, params, image):
    return jax.jit(lambda p, x: squared_gradients(apply, p, x, losses, WEIGHT))(params, image)


@cache
def squares_of(name):
    """A network of NETWORKS as (apply, params, image), and its squares by layer."""
    params, batch_stats, image = drawn(*NETWORKS[name])
    given = forward(NETWORKS[name][0], batch_stats), params, image
    return given, by_layer(*given)


def close(found, expected, tolerance=1e-5):
    found, expected = named_leaves(found), named_leaves(expected)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        assert np.max(leaf) > 0, name
        np.testing.assert_allclose(found[name], leaf, rtol=tolerance, atol=tolerance * np.max(leaf))


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_a_gradient_of_every_example(name):
    given, found = squares_of(name)
    close(found, one_by_one(*given))


@pytest.mark.parametrize("name", ["mlp", "mobilenet_v2_cifar"])
def test_in_bfloat16_it_is_off_by_the_rounding_of_operands(name):
    model, side = NETWORKS[name]
    params, batch_stats, image = drawn(model, side)
    apply = forward(model.clone(quantizers=FLOAT._replace(precision="bfloat16")), batch_stats)
    found, expected = by_layer(apply, params, image), one_by_one(apply, params, image)
    close(found, expected, tolerance=0.02)
    with pytest.raises(AssertionError):  # the factors of the products are taken before they are rounded
        close(found, expected)


def test_the_networks_have_every_kind_of_layer():
    shapes = [named_leaves(variable_shapes(model, (side, side, 2))) for model, side in NETWORKS.values()]
    kinds = {"/".join(name.split("/")[-3:]) for leaves in shapes for name in leaves}
    assert {"depthwise/conv/kernel", "excite/conv/bias", "shortcut/conv/kernel", "project/norm/scale"} <= kinds
    assert {"classifier/dense/bias", "stem/conv/bias", "stem/norm/mean"} <= kinds


def test_the_working_set_does_not_change_the_sums(monkeypatch):
    given, expected = squares_of("mobilenet_v2_cifar")
    monkeypatch.setattr(taps, "WORKING_SET", {"cpu": 1})
    close(by_layer(*given), expected, tolerance=2e-6)


def test_only_a_part_of_the_products_is_held_at_once(monkeypatch):
    monkeypatch.setattr(taps, "WORKING_SET", {"cpu": 1})
    window = taps.Window((3, 3), 1, 1, 1)
    x, gradient = jnp.ones((BATCH, 5, 5, 4)), jnp.ones((BATCH, 5, 5, 8))
    text = str(jax.make_jaxpr(partial(taps._kernel_squares, window))(x, gradient))
    assert "f32[1,1,9,4,8]" in text and f"f32[{BATCH},1,9,4,8]" not in text


def test_a_prime_number_of_examples_is_cut_as_any_other(monkeypatch):
    monkeypatch.setattr(taps, "WORKING_SET", {"cpu": 4 * (25 * (9 * 4 + 8) + 9 * 4 * 8)})  # of four examples
    squares = partial(taps._kernel_squares, taps.Window((3, 3), 1, 1, 1))
    draw = np.random.default_rng(0)
    x, gradient = (draw.normal(size=(13, 5, 5, channels)).astype(np.float32) for channels in (4, 8))
    assert "f32[4,1,9,4,8]" in str(jax.make_jaxpr(squares)(x, gradient))
    of_one = jax.jit(squares)
    found, expected = of_one(x, gradient), sum(np.array(of_one(x[i : i + 1], gradient[i : i + 1])) for i in range(13))
    close(found, expected, tolerance=2e-6)


def test_every_example_runs_as_a_batch_of_its_own():
    model = MODELS["mlp"](CLASSES, setup(act=4, normalize=True), hidden=8)  # activations depend on the whole batch
    params, batch_stats, image = drawn(model, 4)
    apply = forward(model, batch_stats)
    whole, first = jax.jit(lambda image: (apply(params, image)[:1], apply(params, image[:1])))(image)
    assert not np.allclose(whole, first, rtol=1e-3)
    close(by_layer(apply, params, image), one_by_one(apply, params, image))


def test_a_leaf_that_the_network_does_not_read_gets_0():
    (apply, params, image), expected = squares_of("mlp")
    more = {**params, "stem": {"dense": {**params["stem"]["dense"], "quantizer": {"scale": jnp.ones(())}}}}
    found = by_layer(apply, more, image)
    assert float(found["stem"]["dense"].pop("quantizer")["scale"]) == 0.0
    close(found, expected)


class Twice(nn.Module):
    """One layer, called twice."""

    @nn.compact
    def __call__(self, x, train):
        dense = QuantDense(2, weight=FLOAT.weight("inner"), name="dense")
        return dense(dense(x.reshape(len(x), -1)))


class Own(nn.Module):
    """A parameter of the network's own."""

    @nn.compact
    def __call__(self, x, train):
        scale = self.param("scale", LECUN_NORMAL, (2, 1))
        return QuantDense(CLASSES, weight=FLOAT.weight("inner"), name="dense")(x.reshape(len(x), -1) @ scale)


REFUSED = {
    "weights of 4 bits": MODELS["mlp"](CLASSES, setup(weight=4), hidden=4),
    "weights with a learned scale": MODELS["mlp"](CLASSES, setup(weight=4, weight_name="lsq"), hidden=4),
    "activations with a learned scale": MODELS["mlp"](CLASSES, setup(act=4, act_name="lsq"), hidden=4),
    "a layer called twice": Twice(),
    "a parameter of another kind": Own(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_none_where_a_layer_does_not_tell_its_gradient(name):
    model = REFUSED[name]
    params = {"params": {}} | jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.ones((1, 1, 1, 2)), False))
    params, image = (
        jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), params),
        np.ones((BATCH, 1, 1, 2), np.float32),
    )
    assert squared_gradients(forward(model, {}), params["params"], image, losses, WEIGHT) is None
