"""Products of a layer whose operands have fewer digits than its parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Product = Callable[..., Any]  # (x, kernel, ..., preferred_element_type=) -> sums of their products

EXPONENT, MANTISSA = 8, 7  # bits of a bfloat16 beside its sign


def in_bfloat16(product: Product) -> Product:
    """`product`, linear in its first two arguments, of these rounded to bfloat16, summed and returned in float32.

    So are its two gradients, from the cotangent rounded likewise: float32 as well, of float32 operands. Two bfloat16
    numbers have an exact product in float32, so on CPU, which gains nothing from the shorter type, float32 arithmetic
    does the same on rounded operands, up to the order of sums; elsewhere the operands are bfloat16 arrays, in memory
    too, and the gradients that come back are rounded once more.

    Exact: integers up to 256 times a power of two, so all levels of 8 bits where the scale is a power of two. Any other
    scale moves each level by up to 2**-8 of its size; levels i * scale and (i + 1) * scale stay apart where i < 127."""

    def rounded(x: jax.Array, kernel: jax.Array, *where: Any, **how: Any) -> jax.Array:
        return _of_rounded(partial(product, **how), where, x, kernel)

    return rounded


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _of_rounded(product: Product, where: tuple, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _forward(product, where, x, kernel)[0]


def _forward(product: Product, where: tuple, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    operands = _rounded(x), _rounded(kernel)
    return product(*operands, *where, preferred_element_type=jnp.float32), operands


def _backward(product: Product, where: tuple, operands: tuple, cotangent: jax.Array) -> tuple[jax.Array, ...]:
    # without the preferred type: a transposed convolution takes no operands of two types
    _, back = jax.vjp(lambda x, kernel: product(x, kernel, *where), *operands)
    return tuple(gradient.astype(jnp.float32) for gradient in back(_rounded(cotangent)))


_of_rounded.defvjp(_forward, _backward)


def _rounded(x: jax.Array) -> jax.Array:
    # a cast to and fro would not do on CPU: XLA is free to leave it out
    on_cpu = jax.default_backend() == "cpu"
    return lax.reduce_precision(x, EXPONENT, MANTISSA) if on_cpu else x.astype(jnp.bfloat16)
