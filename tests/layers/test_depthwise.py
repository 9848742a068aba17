from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers.depthwise import depthwise
from lifeq_jax.layers.quant import conv
from lifeq_jax.quant.rounding import identity

LAYOUT = ("NHWC", "HWIO", "NHWC")


def reference(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=x.shape[-1]
    )


@pytest.mark.parametrize("image", [(8, 8), (7, 9), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_is_the_grouped_convolution(size, stride, image):
    random = np.random.default_rng(size + stride)
    x = jnp.asarray(random.normal(size=(2, *image, 6)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(size, size, 1, 6)), jnp.float32)
    strides, padding = (stride, stride), ((size // 2, size // 2),) * 2
    cotangent = jnp.asarray(random.normal(size=reference(x, kernel, strides, padding).shape), jnp.float32)

    @partial(jax.jit, static_argnums=0)
    def both_ways(function, x, kernel):
        y, back = jax.vjp(lambda *args: function(*args, strides, padding), x, kernel)
        return y, *back(cotangent)

    for one, other in zip(both_ways(depthwise, x, kernel), both_ways(reference, x, kernel), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_by_hand():
    kernel = jnp.zeros((3, 3, 1, 2)).at[1, 0, 0, 0].set(1.0).at[1, 2, 0, 1].set(2.0)  # left neighbor; twice the right
    x = jnp.arange(1.0, 4.0).reshape(1, 1, 3, 1) * jnp.ones((1, 1, 1, 2))
    y = depthwise(x, kernel, (1, 1), ((1, 1), (1, 1)))
    np.testing.assert_array_equal(y[0, 0], [[0, 4], [1, 6], [2, 0]])


def test_convolutions_of_one_filter_a_channel_use_it():
    assert conv(4, 3, identity(), groups=4).conv_general_dilated is depthwise
    assert conv(4, 3, identity(), groups=2).conv_general_dilated is jax.lax.conv_general_dilated
