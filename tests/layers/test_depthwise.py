from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers import convolution as room
from lifeq_jax.layers.depthwise import depthwise
from lifeq_jax.layers.quant import conv
from lifeq_jax.quant.rounding import identity

LAYOUT = ("NHWC", "HWIO", "NHWC")


def reference(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=x.shape[-1]
    )


def both_ways(function, x, kernel, strides, padding):
    """y, and the gradients of x and kernel from a drawn cotangent."""
    y, back = jax.vjp(lambda *args: function(*args, strides, padding), x, kernel)
    return y, *back(np.random.default_rng(1).normal(size=y.shape).astype(y.dtype))


def drawn(x, kernel, dtype):
    random = np.random.default_rng(sum(x + kernel))
    return [random.normal(size=shape).astype(dtype) for shape in (x, kernel)]


def assert_is_the_grouped_convolution(x, size, strides, padding):
    with jax.enable_x64(True):
        ways = [partial(both_ways, function, strides=strides, padding=padding) for function in (depthwise, reference)]
        compiled = jax.jit(lambda x, kernel: [way(x, kernel) for way in ways])
        found, expected = compiled(*drawn(x, (*size, 1, x[-1]), np.float64))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("image", [(8, 8), (7, 9), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_is_the_grouped_convolution(size, stride, image):
    half = size // 2
    assert_is_the_grouped_convolution((2, *image, 6), (size, size), (stride, stride), ((half, half), (half, half)))


@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        ((3, 3), (2, 1), ((0, 1), (2, 0))),
        ((5, 3), (3, 2), ((0, 0), (0, 0))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),  # rows and columns that no tap reaches
        ((2, 1), (3, 3), ((1, 1), (1, 0))),
    ],
)
def test_uneven_strides_and_paddings(size, strides, padding):
    assert_is_the_grouped_convolution((3, 8, 7, 2), size, strides, padding)


@pytest.mark.parametrize("batch", [1, 5, 7, 12])
def test_sums_over_sub_batches_of_the_working_set(batch, monkeypatch):
    monkeypatch.setattr(room, "WORKING_SET", 3 * 2 * 6 * 6 * 4)
    assert_is_the_grouped_convolution((batch, 6, 6, 4), (3, 3), (1, 1), ((1, 1), (1, 1)))
    assert_is_the_grouped_convolution((batch, 6, 6, 4), (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("stride", [1, 2])
def test_compiled_vmap_over_networks_and_examples_and_second_derivatives(stride):
    x, kernel = drawn((2, 4, 7, 6, 3), (2, 3, 3, 1, 3), np.float32)  # of two networks

    @partial(jax.jit, static_argnums=0)
    def all_of(function, x, kernel):
        def value(kernel, x):
            return jnp.sum(jnp.square(function(x, kernel, (stride, stride), ((1, 1), (1, 1)))))

        gradients = jax.grad(value, argnums=(0, 1))
        of_examples = jax.vmap(jax.grad(value), (None, 0))(kernel[0], x[0][:, None])
        second = jax.grad(lambda kernel, x: jnp.vdot(gradients(kernel, x)[1], x), argnums=(0, 1))(kernel[0], x[0])
        return jax.vmap(gradients)(kernel, x), of_examples, second

    found, expected = (jax.tree.leaves(all_of(function, x, kernel)) for function in (depthwise, reference))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.max(np.abs(other)))


def test_keeps_its_input_alone():
    x, kernel = drawn((4, 6, 6, 3), (3, 3, 1, 3), np.float32)
    _, back = jax.vjp(lambda *args: depthwise(*args, (1, 1), ((1, 1), (1, 1))), x, kernel)
    assert sorted(leaf.shape for leaf in jax.tree.leaves(back) if leaf.size > 1) == [kernel.shape, x.shape]


def test_no_iteration_writes_more_than_the_kernels_gradient():  # XLA copies a whole batch that a loop reads and writes
    x, kernel = drawn((4, 6, 6, 3), (3, 3, 1, 3), np.float32)
    y, back = jax.vjp(lambda *args: depthwise(*args, (1, 1), ((1, 1), (1, 1))), x, kernel)
    loops = [eqn for eqn in jax.make_jaxpr(back)(y).eqns if eqn.primitive.name == "scan"]
    assert [[out.aval.shape for out in loop.outvars] for loop in loops] == [[kernel.shape]]


def test_by_hand():
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 0, 0, 0], kernel[1, 2, 0, 1] = 1.0, 2.0  # left neighbor; twice the right
    x = np.repeat(np.arange(1.0, 4.0, dtype=np.float32), 2).reshape(1, 1, 3, 2)
    y = np.array(depthwise(x, kernel, (1, 1), ((1, 1), (1, 1))))
    np.testing.assert_array_equal(y[0, 0], [[0, 4], [1, 6], [2, 0]])


def test_convolutions_of_one_filter_a_channel_use_it():
    assert conv(4, 3, identity(), groups=4).conv_general_dilated is depthwise
    assert conv(4, 3, identity(), groups=2).conv_general_dilated is jax.lax.conv_general_dilated
