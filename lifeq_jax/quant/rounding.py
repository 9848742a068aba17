"""The parts of all quantizers: the straight-through estimator, the clamp, and the record built from a grid."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from lifeq_jax.quant.base import Codes, Quantizer, check_bits, dequantize


@jax.custom_vjp
def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """Returns `value` unchanged, with the gradient of `surrogate`, an array of the same shape.

    Source: the straight-through estimator as in LifeQuant model/quantization.py."""
    del surrogate
    return value


def _straight_through_forward(value: jax.Array, surrogate: jax.Array) -> tuple[jax.Array, None]:
    del surrogate
    return value, None


def _straight_through_backward(_: None, cotangent: jax.Array) -> tuple[None, jax.Array]:
    return None, cotangent


straight_through.defvjp(_straight_through_forward, _straight_through_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def clamp(x: jax.Array, low: float, high: float) -> jax.Array:
    """x limited to [low, high], any shape. Holds: the gradient is 1 at both bounds and between, 0 outside.

    jnp.clip has gradient 1/2 at the bounds. The originals (torch 1.7) have 1: values on an outermost level still
    learn."""
    return jnp.clip(x, low, high)


def _clamp_forward(x: jax.Array, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    # A mask of one byte per value costs a quarter of the memory traffic of keeping x.
    return jnp.clip(x, low, high), (x >= low) & (x <= high)


def _clamp_backward(low: float, high: float, inside: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    del low, high
    return (jnp.where(inside, cotangent, jnp.zeros((), cotangent.dtype)),)


clamp.defvjp(_clamp_forward, _clamp_backward)


Hold = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (x, values, mask) -> x


def identity() -> Quantizer:
    """32 bits: the input itself."""
    return Quantizer(32, lambda x: {}, lambda learned, x, key=None: x, lambda learned, x: x, None, _hold_nothing)


def _hold_nothing(learned: dict, x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    del learned, values, mask
    return x


def from_grid(
    bits: int,
    grid: Callable[[jax.Array], Codes],
    surrogate: Callable[[jax.Array], jax.Array],
    hold: Hold | None = None,
) -> Quantizer:
    """A quantizer without learned state: rounds to `grid`, has the gradient of `surrogate`; at 32 bits the identity.

    `grid(x)` returns the codes of x with `values` integral but still float32, so that XLA fuses rounding and scaling
    into one loop; `codes` casts them. Both `apply` and `codes` come from `grid`, so they agree as `Quantizer` promises.
    `hold` is needed where the grid depends on x; the default assumes that it does not.
    Refuses bits that are not in {1..8, 32}."""
    if check_bits(bits) == 32:
        return identity()

    def apply(learned: dict, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        del learned, key
        value = dequantize(grid(jax.lax.stop_gradient(x))).astype(x.dtype)
        return straight_through(value, surrogate(x))

    def codes(learned: dict, x: jax.Array) -> Codes:
        del learned
        found = grid(x)
        return found._replace(values=found.values.astype(jnp.int32))

    def held(learned: dict, x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        if hold is not None:
            return hold(x, values, mask)
        return jnp.where(mask, dequantize(codes(learned, x)._replace(values=values)), x)

    return Quantizer(bits, lambda x: {}, apply, lambda learned, x: surrogate(x), codes, held)
