"""The record that a quantizer is, and the integers it stands for."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree

BITS = (1, 2, 3, 4, 5, 6, 7, 8, 32)


class Codes(NamedTuple):
    """Integers and the affine map back: value = (values - zero) * scale."""

    values: jax.Array  # int32, any shape
    scale: jax.Array  # float32, broadcastable to `values`
    zero: jax.Array  # float32, broadcastable; half-integer where the grid has no zero


class Quantizer(NamedTuple):
    """Pure functions of one quantizer at one bit-width.

    Holds: `apply(params, x) == dequantize(codes(params, x))` exactly; 32 bits is the identity and has no codes."""

    bits: int
    init: Callable[[jax.Array], PyTree]  # x -> learned state, {} where nothing is learned
    apply: Callable[[PyTree, jax.Array], jax.Array]  # (learned state, x) -> y, the shape and type of x
    codes: Callable[[PyTree, jax.Array], Codes] | None


def dequantize(codes: Codes) -> jax.Array:
    """The float32 values that the integers stand for."""
    return (codes.values.astype(jnp.float32) - codes.zero) * codes.scale


def check_bits(bits: int, key: str = "bits") -> int:
    """Returns `bits`; refuses what is not in {1..8, 32}."""
    if bits not in BITS:
        raise Refusal(f"{key}={bits!r} is not a bit-width; choose from 1 to 8, or 32 for no quantization")
    return bits
