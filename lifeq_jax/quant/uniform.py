"""Uniform quantizers: the bare DoReFa grid, activations on [0, 1], and weights scaled by their largest magnitude."""

import jax
import jax.numpy as jnp

from lifeq_jax.quant.base import Codes, Quantizer, check_bits
from lifeq_jax.quant.hold import Levels, hold_scaled, hold_standardized
from lifeq_jax.quant.proxq import standardize
from lifeq_jax.quant.rounding import clamp, from_grid

# Gives the standard deviation 1/2 that LifeQuant's mobilenet-v2-cifar-100 puts on activations.
NORMALIZED_RANGE = 2.0


def unit_codes(x: jax.Array, bits: int) -> Codes:
    """x on the grid {i / n}, n = 2**bits - 1, ties to even; values float32. 1 bit: the sign, in {-1, 0, 1}."""
    steps = 2**bits - 1
    level = jnp.sign(x) if bits == 1 else jnp.round(x * steps)
    return Codes(level, jnp.float32(1 / steps), jnp.float32(0))


def dorefa(bits: int) -> Quantizer:
    """round(x n) / n with n = 2**bits - 1, not clamped; 1 bit is sign(x) with sign(0) = 0. Gradient: that of x.

    Holds for 2..8 bits: idempotent, |y - x| <= 1 / (2 n). Source: uniform_quantize of all LifeQuant and ClimbQ
    programs.

    Example:
        >>> quantizer = lq.quantizers.dorefa(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-1.0, -0.33, 0.33, 1.0]
    """
    return from_grid(bits, lambda x: unit_codes(x, bits), lambda x: x)


def activation(bits: int, *, normalize: bool = False) -> Quantizer:
    """clamp(x, 0, 1) on the DoReFa grid of `bits` bits; 1 bit gives 1 where x > 0, else 0.

    Gradient: 1 on [0, 1], 0 outside. Source: activation_quantize_fn.

    Args:
        normalize: first map the whole tensor, over the batch too, to mean 0 and standard deviation 1/2; the gradient
            flows through both statistics. This is the variant of LifeQuant's mobilenet-v2-cifar-100, in which an output
            depends on the rest of its batch even in evaluation.

    Example:
        >>> quantizer = lq.quantizers.activation(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [0.0, 0.0, 0.33, 1.0]
    """

    def prepared(x: jax.Array) -> jax.Array:
        return clamp(standardize(x, NORMALIZED_RANGE) if normalize else x, 0.0, 1.0)

    steps = 2 ** check_bits(bits) - 1
    # In standard deviations; at 1 bit the codes are the two sides of the mean.
    places = Levels(2.0, 0.5, 0, 1) if bits == 1 else Levels(4 / NORMALIZED_RANGE / steps, 0.0, 0, steps)

    def hold(x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        return hold_standardized(x, values, mask, places)

    return from_grid(bits, lambda x: unit_codes(prepared(x), bits), prepared, hold if normalize else None)


def minmax(bits: int) -> Quantizer:
    """x on 2**bits levels, evenly spaced from -max|x| to max|x| of the whole tensor. Gradient: that of x.

    Plain uniform quantization, the baseline of ProxQ. Holds: |y - x| <= max|x| / (2**bits - 1).

    Example:
        >>> quantizer = lq.quantizers.minmax(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-1.0, -0.33, 0.33, 1.0]
    """
    steps = 2**bits - 1

    def grid(x: jax.Array) -> Codes:
        largest = jnp.max(jnp.abs(x)).astype(jnp.float32)
        safe = jnp.where(largest > 0, largest, 1.0)
        level = jnp.round((x / safe + 1) * (steps / 2))
        return Codes(level, largest * (2 / steps), jnp.float32(steps / 2))

    return from_grid(bits, grid, lambda x: x, lambda x, values, mask: hold_scaled(x, values, mask, steps))
