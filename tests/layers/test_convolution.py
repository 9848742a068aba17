from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers import convolution as room
from lifeq_jax.layers.convolution import LAYOUT, convolution, kernel_gradient
from lifeq_jax.layers.quant import conv
from lifeq_jax.quant.rounding import identity

SHAPES = {  # x, kernel, strides, padding
    "thin": ((4, 7, 9, 3), (3, 3, 3, 5), (1, 1), ((1, 1), (1, 1))),
    "wide": ((4, 6, 5, 33), (3, 3, 33, 32), (1, 1), ((1, 1), (1, 1))),
    "strided": ((4, 9, 8, 3), (3, 3, 3, 5), (2, 2), ((1, 1), (1, 1))),
    "pointwise": ((4, 5, 6, 3), (1, 1, 3, 5), (1, 1), ((0, 0), (0, 0))),
    "shortcut": ((4, 7, 8, 3), (1, 1, 3, 5), (2, 2), ((0, 0), (0, 0))),
    "inside": ((2, 8, 7, 3), (5, 3, 3, 4), (1, 1), ((0, 0), (0, 0))),
    "uneven": ((3, 8, 7, 3), (5, 3, 3, 4), (2, 1), ((0, 1), (2, 0))),
    "stem": ((2, 15, 15, 3), (7, 7, 3, 4), (2, 2), ((3, 3), (3, 3))),
    "pixel": ((2, 1, 1, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1))),
    "one": ((1, 6, 6, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1))),
}


def plain(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def drawn(seed, *shapes):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def assert_close(one, other):
    """Within 1e-5 of the largest value: a sum of many terms of both signs has no better relative digits."""
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * float(jnp.max(jnp.abs(other))))


@pytest.mark.parametrize("name", SHAPES)
def test_is_the_plain_convolution_forward_and_backward(name):
    *shapes, strides, padding = SHAPES[name]
    x, kernel = drawn(0, *shapes)
    (cotangent,) = drawn(1, jax.eval_shape(lambda: plain(x, kernel, strides, padding)).shape)

    @partial(jax.jit, static_argnums=0)
    def both_ways(function, x, kernel):
        y, back = jax.vjp(lambda *args: function(*args, strides, padding), x, kernel)
        return y, *back(cotangent)

    for one, other in zip(both_ways(convolution, x, kernel), both_ways(plain, x, kernel), strict=True):
        assert_close(one, other)


def test_kernel_gradient_by_hand():
    x, cotangent = jnp.arange(1.0, 5.0).reshape(2, 1, 2, 1), jnp.array([1.0, 0.0, 0.0, 10.0]).reshape(2, 1, 2, 1)
    found = kernel_gradient(x, cotangent, (1, 3), (1, 1), ((0, 0), (1, 1)))
    np.testing.assert_array_equal(found[0, :, 0, 0], [30, 1 + 40, 2])  # left neighbor, itself, right neighbor


@pytest.mark.parametrize("name", ["thin", "strided"])
def test_vmap_over_examples_and_second_derivatives(name):
    *shapes, strides, padding = SHAPES[name]
    x, kernel, direction = drawn(2, *shapes, shapes[1])

    @partial(jax.jit, static_argnums=0)
    def both(function):
        def value(kernel, x):
            return jnp.sum(jnp.square(function(x[None], kernel, strides, padding)))

        of_examples = jax.vmap(jax.grad(value), (None, 0))(kernel, x)
        second = jax.grad(lambda kernel: jnp.vdot(jax.grad(value)(kernel, x[0]), direction))(kernel)
        return of_examples, second, jax.grad(lambda x: jnp.vdot(jax.grad(value)(kernel, x), direction))(x[0])

    for one, other in zip(both(convolution), both(plain), strict=True):
        assert_close(one, other)


def test_sums_over_sub_batches_of_the_working_set(monkeypatch):
    (x, cotangent) = drawn(3, (12, 4, 4, 3), (12, 4, 4, 5))
    gradient = partial(kernel_gradient, size=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
    whole = gradient(x, cotangent)

    def loops():
        jaxpr = jax.make_jaxpr(lambda *parts: gradient(*parts))(x, cotangent)
        return [eqn.params["length"] for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]

    assert loops() == [2]
    monkeypatch.setattr(room, "WORKING_SET", 3 * 4 * 4 * (3 + 5))
    assert loops() == [4]
    assert_close(gradient(x, cotangent), whole)


def test_other_backends_keep_their_own(monkeypatch):
    x, kernel = drawn(4, (2, 4, 4, 3), (3, 3, 3, 4))
    how = {"dimension_numbers": LAYOUT}

    def customs():
        jaxpr = jax.make_jaxpr(lambda x: convolution(x, kernel, (1, 1), ((1, 1), (1, 1)), **how))(x)
        return [eqn.primitive.name for eqn in jaxpr.eqns]

    assert "custom_vjp_call" in customs()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert customs() == ["conv_general_dilated"]


def test_convolutions_without_groups_use_it():
    assert conv(4, 3, identity()).conv_general_dilated is convolution
    assert conv(1, 3, identity()).conv_general_dilated is convolution
