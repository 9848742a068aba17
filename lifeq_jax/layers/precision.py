"""Products of a layer with operands of a lower precision than its parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Product = Callable[..., Any]  # (x, kernel, ..., preferred_element_type=) -> sums of their products

EXPONENT, MANTISSA = 8, 7  # bits of a bfloat16 beside its sign


def in_bfloat16(product: Product) -> Product:
    """`product` (bilinear in its first two arguments) with these rounded to bfloat16; sums and result are float32.

    Its two gradients are computed the same way, from the cotangent rounded to bfloat16. The product of two bfloat16
    numbers is exact in float32, so on CPU, where bfloat16 is not faster, float32 arithmetic on rounded operands gives
    the same result up to the order of sums. Elsewhere the operands are bfloat16 arrays, in memory too, and the
    gradients are rounded to bfloat16 once more.

    Exact for integers up to 256 times a power of two, hence for all levels of 8 bits if the scale is a power of two.
    Any other scale moves each level by up to 2**-8 of its size; levels i * scale and (i + 1) * scale differ if i <
    127."""

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
    # without preferred_element_type: a transposed convolution does not accept operands of two types
    _, back = jax.vjp(lambda x, kernel: product(x, kernel, *where), *operands)
    return tuple(gradient.astype(jnp.float32) for gradient in back(_rounded(cotangent)))


_of_rounded.defvjp(_forward, _backward)


def _rounded(x: jax.Array) -> jax.Array:
    # on CPU not a cast to bfloat16 and back, which XLA may remove
    on_cpu = jax.default_backend() == "cpu"
    return lax.reduce_precision(x, EXPONENT, MANTISSA) if on_cpu else x.astype(jnp.bfloat16)
