import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.alexnet import alexnet_32, alexnet_84, multiplied
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.quant import QUANTIZERS

FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)
LATE = 0.5
MODEL = alexnet_32(3, FLOAT, mul=1 / 8, hidden=64).clone(late=LATE)
LAYERS = ("stem", "convs_0", "convs_1", "dense_0", "dense_1")


@pytest.fixture(scope="module")
def variables():
    return initialize(MODEL, 0, (23, 23, 1))


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(8, 23, 23, 1)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def features(train, variables, rngs):
    return MODEL.apply(variables, images(), train, method="features", rngs=rngs)


def streams(seed):
    return {"dropout": jax.random.key(seed)}


def test_dropout_acts_where_its_stream_is_given(variables):
    still, moving = features(False, variables, {}), features(True, variables, streams(0))
    np.testing.assert_array_equal(features(True, variables, {}), still)
    np.testing.assert_array_equal(features(True, variables, streams(0)), moving)
    np.testing.assert_array_equal(features(False, variables, streams(0)), moving)
    for other in (still, features(True, variables, streams(1))):
        assert np.any(moving != other)


def test_dropout_keeps_its_share_and_scales_it(variables):
    def run(rngs):
        how = {"capture_intermediates": True, "mutable": ["intermediates"]}
        return MODEL.apply(variables, images(), True, rngs=rngs, **how)[1]["intermediates"]

    found = jax.tree.map(np.asarray, jax.jit(run)(streams(3)))
    for index, (layer, rate) in enumerate(zip(LAYERS, (0.2, 0.2, LATE, LATE, LATE), strict=True)):
        before, after = found[layer]["__call__"][0], found[f"drops_{index}"]["__call__"][0]
        alive, kept = before > 0, after > 0
        np.testing.assert_allclose(after[kept], before[kept] / (1 - rate), rtol=1e-6)
        assert not np.any(kept & ~alive)
        share, deviation = np.sum(kept) / np.sum(alive), np.sqrt(rate * (1 - rate) / np.sum(alive))
        assert abs(share - (1 - rate)) < 6 * deviation < 0.2, layer


def convolved(x, conv):
    """Every place of x (B, H, W, C) where the kernel lies inside, by hand."""
    kernel = np.asarray(conv["kernel"])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel) + np.asarray(conv["bias"])


def halved(x):
    """The largest value of each 2x2; an odd last row or column is left out."""
    side = x.shape[1] // 2
    return x[:, : 2 * side, : 2 * side].reshape(len(x), side, 2, side, 2, -1).max(axis=(2, 4))


def test_is_its_layers(variables):
    params, x = variables["params"], np.asarray(images())
    for name in LAYERS[:3]:
        x = halved(np.maximum(convolved(x, params[name]["conv"]), 0))
    assert x.shape == (8, 1, 1, 32)  # 23 -> 20 -> 10 -> 8 -> 4 -> 3 -> 1
    x = x.reshape(8, -1)
    for name in LAYERS[3:]:
        kernel, bias = (np.asarray(params[name]["dense"][leaf]) for leaf in ("kernel", "bias"))
        x = np.maximum(x @ kernel + bias, 0)
    np.testing.assert_allclose(features(False, variables, {}), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mul", "expected"), [(1, (64, 128, 256)), (2, (128, 256, 512)), (0.8, (51, 102, 205)), (1 / 100, (1, 1, 3))]
)
def test_features_are_rounded_to_the_nearest(mul, expected):
    assert multiplied(mul) == expected


@pytest.mark.parametrize("mul", [0, -1.0, 1 / 128, float("nan"), float("inf")])
@pytest.mark.parametrize("make", [alexnet_32, alexnet_84])
def test_a_factor_that_leaves_no_features_is_refused(make, mul):
    with pytest.raises(Refusal, match=re.escape(f"recipe.model mul={mul} is not a factor of 64 features; choose")):
        make(3, FLOAT, mul=mul)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(dropout):
    with pytest.raises(Refusal, match=f"recipe.model dropout={dropout} is not a share; choose a number from 0 to"):
        alexnet_84(3, FLOAT, dropout=dropout)


def test_linear_layers_without_features_are_refused():
    with pytest.raises(Refusal, match="recipe.model hidden=0 leaves nothing to train; choose a number from 1 up"):
        alexnet_32(3, FLOAT, hidden=0)


@pytest.mark.parametrize(("make", "smallest"), [(alexnet_32, 19), (alexnet_84, 35)])
def test_images_that_the_kernels_do_not_fit_into_are_refused(make, smallest):
    shapes = variable_shapes(make(3, FLOAT), (smallest, smallest + 1, 3))["params"]
    assert shapes["dense_0"]["dense"]["kernel"].shape[0] == 256
    message = f"recipe.data images of {smallest - 1}x40 are too small for the model; choose {smallest}x{smallest} up"
    with pytest.raises(Refusal, match=message):
        variable_shapes(make(3, FLOAT), (smallest - 1, 40, 3))
