"""Convolution whose weight gradient suits the backend."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
WORKING_SET = 2**17  # values of a sub-batch's inputs and cotangents, 512 kB: its copies stay in the cache
THIN = 32  # channels below which a convolution leaves lanes of the processor empty

Pair = tuple[int, int]
OfPart = Callable[[jax.Array, jax.Array], jax.Array]


def convolution(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Sequence[Pair], **others: Any) -> Any:
    """lax.conv_general_dilated for NHWC x and a kernel (h, w, in, out), neither dilated nor in groups.

    On CPU the kernel's gradient is `kernel_gradient`, equal up to the order of summation, without forward-mode
    differentiation: a training step of ResNet-20 takes two thirds of the time it takes with XLA's own gradient."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **others)
    rows, columns = padding
    return _convolution(x, kernel, (strides[0], strides[1]), ((rows[0], rows[1]), (columns[0], columns[1])))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def _forward(x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]) -> tuple:
    return _convolution(x, kernel, strides, padding), (x, kernel)


def _backward(strides: Pair, padding: tuple[Pair, Pair], saved: tuple, cotangent: jax.Array) -> tuple:
    x, kernel = saved
    plain = partial(lax.conv_general_dilated, window_strides=strides, padding=padding, dimension_numbers=LAYOUT)
    (to_x,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(cotangent)
    return to_x, kernel_gradient(x, cotangent, kernel.shape[:2], strides, padding)


_convolution.defvjp(_forward, _backward)


def kernel_gradient(
    x: jax.Array, cotangent: jax.Array, size: tuple[int, ...], strides: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """The gradient (h, w, in, out) of a convolution's kernel from input x (B, H, W, in) and cotangent (B, ., ., out).

    size is (h, w)."""
    thin = min(x.shape[-1], cotangent.shape[-1]) < THIN
    if strides == (1, 1) and (thin or size == (1, 1)):
        of_part = partial(_by_shifts, size=size, padding=padding)
    else:
        of_part = partial(_by_windows, size=size, strides=strides, padding=padding)
    return sum_over_parts(of_part, x, cotangent, jnp.zeros((*size, x.shape[-1], cotangent.shape[-1]), x.dtype))


def sum_over_parts(of_part: OfPart, x: jax.Array, cotangent: jax.Array, zeros: jax.Array) -> jax.Array:
    """The sum, begun at zeros, of of_part(x, cotangent) over sub-batches small enough for the cache.

    The scan is also a fusion barrier: without it XLA recomputes x's producers (norm, ReLU, quantizer) once for every
    shifted copy of x. It has no stacked result on purpose: XLA would keep the zeros that one starts from through the
    whole step."""
    count = sub_batches(len(x), x.size + cotangent.size)
    parts = tuple(part.reshape(count, len(x) // count, *part.shape[1:]) for part in (x, cotangent))

    def add(so_far: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return so_far + of_part(*part), None

    return lax.scan(add, zeros, parts)[0]


def sub_batches(batch: int, values: int) -> int:
    """The fewest equal parts of a batch that fit the working set; at least 2, since XLA unrolls a loop of one."""
    return next((n for n in range(2, batch) if batch % n == 0 and values <= n * WORKING_SET), batch)


def _by_windows(
    x: jax.Array, cotangent: jax.Array, size: tuple[int, ...], strides: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
    """The gradient as a convolution: channels of x as examples, examples as channels, the cotangent as the kernel."""
    image, windows = x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3)
    around = [
        (low, taps + (windows.shape[axis] - 1) * strides[axis] - x.shape[1 + axis] - low)
        for axis, (taps, (low, _)) in enumerate(zip(size, padding, strict=True))
    ]
    found = lax.conv_general_dilated(image, windows, (1, 1), around, rhs_dilation=strides, dimension_numbers=LAYOUT)
    return found.transpose(1, 2, 0, 3)


def _by_shifts(x: jax.Array, cotangent: jax.Array, size: tuple[int, ...], padding: tuple[Pair, Pair]) -> jax.Array:
    """For stride 1, the gradient as one matrix product: x shifted along the width by each tap, times the cotangent
    shifted along the height."""
    height, width, last_tap = x.shape[1], cotangent.shape[2], size[0] - 1
    wide = jnp.pad(x, ((0, 0), (0, 0), padding[1], (0, 0)))
    high = jnp.pad(cotangent, ((0, 0), (last_tap - padding[0][0], last_tap - padding[0][1]), (0, 0), (0, 0)))
    left = jnp.concatenate([wide[:, :, tap : tap + width] for tap in range(size[1])], axis=-1)
    right = jnp.concatenate([high[:, last_tap - tap :][:, :height] for tap in range(size[0])], axis=-1)
    left, right = (part.reshape(-1, part.shape[-1]) for part in (left, right))  # XLA is slow to contract three axes
    found = lax.dot_general(left, right, (((0,), (0,)), ((), ())))
    return found.reshape(size[1], x.shape[-1], size[0], cotangent.shape[-1]).transpose(2, 0, 1, 3)
