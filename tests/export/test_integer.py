"""Ops of a program, each against JAX on the same integers."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lifeq_jax.export.integer import RUN, run
from lifeq_jax.export.program import KINDS, LOGITS, Integers, Op, Program, Weight, users

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(-9, 16, (2, 7, 6, 4))


def program(op, tensors=None, weights=None):
    return Program((op,), tensors or {}, weights or {})


def op(kind, shape, low=-(2**40), high=2**40, **more):
    return Op(kind, ("x",), Integers("y", shape, low, high), **more)


def kernel(shape, factor=1, offset=0):
    values = RANDOM.integers(0, 16, shape)
    return Weight(values, 4, 4, factor, np.asarray(offset), 0, (0.0,), (1.0,))


def test_every_kind_runs():
    assert RUN.keys() == KINDS.keys() - {"pixels"}


@pytest.mark.parametrize(
    ("groups", "strides", "padding"),
    [(1, (1, 1), ((1, 1), (1, 1))), (4, (2, 2), ((2, 1), (0, 2))), (2, (2, 1), ((0, 0), (0, 0)))],
)
def test_convolution(groups, strides, padding):
    weight = kernel((3, 3, 4 // groups, 8), 2, np.arange(8) - 17)
    expected = lax.conv_general_dilated(
        jnp.asarray(X, jnp.float32),
        jnp.asarray(weight.integers, jnp.float32),
        strides,
        padding,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    arguments = dict(strides=list(strides), padding=[list(side) for side in padding], groups=groups)
    step = op("conv", expected.shape[1:], arguments=arguments, tensors={"weight": "w"})
    np.testing.assert_array_equal(RUN["conv"](step, program(step, weights={"w": weight}), X), expected)


def test_sums_that_float32_does_not_hold():
    weight = kernel((1, 1, 1, 1), 1, 2**30 - 3)
    step = op(
        "conv", (1, 1, 1), arguments=dict(strides=[1, 1], padding=[[0, 0], [0, 0]], groups=1), tensors={"weight": "w"}
    )
    x = np.full((1, 1, 1, 1), 2**20 + 1)
    assert RUN["conv"](step, program(step, weights={"w": weight}), x).item() == x.item() * weight.integers.item()


@pytest.mark.parametrize(
    ("window", "strides", "padding"), [((2, 2), (2, 2), ((0, 0), (0, 0))), ((3, 3), (2, 2), ((1, 1), (1, 1)))]
)
def test_max_pooling(window, strides, padding):
    expected = nn.max_pool(jnp.asarray(X, jnp.float32), window, strides, padding)
    arguments = dict(window=list(window), strides=list(strides), padding=padding)
    step = op("max_pool", expected.shape[1:], arguments=arguments)
    np.testing.assert_array_equal(RUN["max_pool"](step, program(step), X), expected)


def test_codes_by_edges():
    step = op("steps", (5,), tensors={"edges": "e", "codes": "c"})
    tensors = {"e": np.array([-3, 0, 4], np.int32), "c": np.array([1, -1, 7, 3], np.int32)}
    x = np.array([[-4, -3, -1, 0, 4]])
    assert RUN["steps"](step, program(step, tensors), x).tolist() == [[1, -1, -1, 7, 3]]


def test_requantize_rounds_down_and_limits():
    names = {"multiplier": "m", "bias": "b", "shift": "s"}
    tensors = {
        "m": np.array([1, -3], np.int32),
        "b": np.array([0, 8], np.int64),
        "s": np.array([1, 2], np.uint8),
    }
    step = op("requantize", (2,), -2, 5, arguments={"pre": 1}, tensors=names)
    x = np.array([[-9, -9], [3, 3], [99, 99]])  # halved and rounded down: -5, 1, 49
    found = RUN["requantize"](step, program(step, tensors), x)
    assert found.tolist() == [[-2, 5], [0, 1], [5, -2]]


def test_slice_and_reshape():
    part = op("slice", (2, 3, 4), arguments={"start": [1, 0, 0], "limit": [5, 6, 4], "strides": [2, 2, 1]})
    np.testing.assert_array_equal(RUN["slice"](part, program(part), X), X[:, 1:5:2, 0:6:2])
    flat = op("reshape", (168,))
    np.testing.assert_array_equal(RUN["reshape"](flat, program(flat), X), X.reshape(2, -1))


def test_pixels_take_the_table_of_their_task():
    table = RANDOM.integers(-99, 99, (3, 2, 256)).astype(np.int32)
    image = RANDOM.integers(0, 256, (2, 4, 4, 2)).astype(np.uint8)
    step = Op("pixels", ("image",), Integers("v0", (4, 4, 2), -99, 99), {}, {"table": "t"})
    total = Op("sum", ("v0",), Integers("v1", (2,), -9999, 9999))
    end = Op("dequantize", ("v1",), Integers(LOGITS, (2,), 0, 0), {}, {"step": "s", "bias": "b"})
    whole = Program((step, total, end), {"t": table, "s": np.ones(1, np.float32), "b": np.zeros(1, np.float32)}, {})
    seen = {}
    found = run(whole, image, 2, seen.__setitem__)
    expected = sum(
        table[2][channel][image[..., channel]].sum(axis=(1, 2))[:, None] * np.eye(2)[channel] for channel in (0, 1)
    )
    np.testing.assert_array_equal(found, expected)
    assert seen.keys() == {"v0", "v1", LOGITS}
    assert users(whole)["v0"] == [total]
    assert not np.array_equal(run(whole, image, 1), found)
