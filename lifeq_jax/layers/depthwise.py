"""Depthwise convolution, in the form that the backend runs fast."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lifeq_jax.layers.convolution import Pair, sum_over_parts


def depthwise(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Sequence[Pair], **others: Any
) -> jax.Array:
    """lax.conv_general_dilated for NHWC x and a kernel (h, w, 1, C) with one filter per channel.

    On CPU a sum of h * w shifted products, equal up to the order of summation, without forward-mode differentiation:
    XLA's grouped convolution takes 6 to 10 times as long there, forward and backward. Of the input only x itself is
    kept for the gradients: differentiated by JAX, the sum would keep its h * w shifted copies."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **others)
    rows, columns = padding
    return _depthwise(x, kernel, (strides[0], strides[1]), ((rows[0], rows[1]), (columns[0], columns[1])))


def _sum_of_products(x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]) -> jax.Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        (size - taps) // stride + 1 for size, taps, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    )

    def shifted(row: int, column: int) -> jax.Array:
        rows = slice(row, row + (height - 1) * strides[0] + 1, strides[0])
        columns = slice(column, column + (width - 1) * strides[1] + 1, strides[1])
        return x[:, rows, columns] * kernel[row, column].reshape(1, 1, 1, -1)

    products = [shifted(row, column) for row in range(kernel.shape[0]) for column in range(kernel.shape[1])]
    return sum(products[1:], products[0])


_depthwise = jax.custom_vjp(_sum_of_products, nondiff_argnums=(2, 3))


def _forward(x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]) -> tuple:
    return _depthwise(x, kernel, strides, padding), (x, kernel)


def _backward(strides: Pair, padding: tuple[Pair, Pair], saved: tuple, cotangent: jax.Array) -> tuple:
    x, kernel = saved

    def of_part(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        of_kernel = partial(_sum_of_products, x, strides=strides, padding=padding)
        return jax.linear_transpose(of_kernel, kernel)(cotangent)[0]

    to_x = _input_gradient(cotangent, kernel, x.shape[1:3], strides, padding)
    return to_x, sum_over_parts(of_part, x, cotangent, jnp.zeros_like(kernel))


_depthwise.defvjp(_forward, _backward)


def _input_gradient(
    cotangent: jax.Array, kernel: jax.Array, size: tuple[int, ...], strides: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """The gradient (B, H, W, C) of an input of size (H, W): the cotangent convolved with the flipped kernel.

    Every stride-th row of the padded input, and column, meets every stride-th tap only, so these are stride[0] *
    stride[1] convolutions of stride 1, interleaved."""
    missing = [(0, max(stride - taps, 0)) for stride, taps in zip(strides, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, (*missing, (0, 0), (0, 0)))  # no interleaved part without a tap
    counts = [-(-(n + sum(pad)) // stride) for n, pad, stride in zip(size, padding, strides, strict=True)]

    def phase(row: int, column: int) -> jax.Array:
        taps = kernel[row :: strides[0], column :: strides[1]]
        around = [(taps.shape[axis] - 1, counts[axis] - cotangent.shape[1 + axis]) for axis in (0, 1)]
        return _sum_of_products(cotangent, taps[::-1, ::-1], (1, 1), (around[0], around[1]))

    phases = [[phase(row, column) for column in range(strides[1])] for row in range(strides[0])]
    whole = jnp.stack([jnp.stack(columns, axis=3) for columns in phases], axis=2)  # B, ., stride, ., stride, C
    whole = whole.reshape(len(cotangent), counts[0] * strides[0], counts[1] * strides[1], -1)
    (top, _), (left, _) = padding
    return whole[:, top : top + size[0], left : left + size[1]]
