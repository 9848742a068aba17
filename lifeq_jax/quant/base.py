"""The record of functions that a quantizer is, and the integers behind quantized values."""

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


class Ranges(NamedTuple):
    """A range estimator: finds learned state from the tensors of a calibration pass, one after the other."""

    start: Callable[[jax.Array], PyTree]  # first tensor -> empty estimate, arrays of fixed shapes
    update: Callable[[PyTree, jax.Array], PyTree]  # (estimate, tensor) -> estimate with it
    learned: Callable[[PyTree], PyTree]  # estimate -> learned state, as `Quantizer.init` gives it


class Quantizer(NamedTuple):
    """Pure functions of one quantizer at one bit-width. `learned` is its trainable state, {} where nothing is learned.

    Holds: `apply(learned, x) == dequantize(codes(learned, x))` exactly; 32 bits is the identity and has no codes."""

    bits: int
    init: Callable[[jax.Array], PyTree]  # x -> learned state from the smallest and largest value of x
    apply: Callable[..., jax.Array]  # (learned, x, key=None) -> y, the shape and type of x; a key draws rounding noise
    relax: Callable[[PyTree, jax.Array], jax.Array]  # (learned, x) -> what `apply` rounds, limited to the grid's range
    codes: Callable[[PyTree, jax.Array], Codes] | None  # (learned, x)
    hold: Callable[[PyTree, jax.Array, jax.Array, jax.Array], jax.Array]
    """(learned, x, values, mask) -> x moved so that its codes are `values` (int32, shape of x) where `mask` is true; x
    unchanged where the grid depends on x and no such tensor exists"""
    ranges: Ranges | None = None  # None: nothing is learned
    noisy: bool = False  # whether `apply` uses the key
    of_batch: Callable[[jax.Array], "Quantizer"] | None = None
    """(share (B,)) -> the quantizer for one training batch; share: fraction of the batch that has each example's class,
    0..1. Evaluation uses the quantizer itself. None: classes do not matter"""


def dequantize(codes: Codes) -> jax.Array:
    """(values - zero) * scale, float32."""
    return (codes.values.astype(jnp.float32) - codes.zero) * codes.scale


def check_bits(bits: int, key: str = "bits") -> int:
    """Returns `bits`; refuses what is not in {1..8, 32}."""
    if bits not in BITS:
        raise Refusal(f"{key}={bits!r} is not a bit-width; choose from 1 to 8, or 32 for no quantization")
    return bits
