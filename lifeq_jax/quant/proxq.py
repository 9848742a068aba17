"""ProxQ, LifeQuant's weight quantizer: weights mapped to a standard space, then rounded on a fixed grid."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant.base import Codes, Quantizer, check_bits
from lifeq_jax.quant.hold import Levels, hold_signs, hold_standardized
from lifeq_jax.quant.rounding import clamp, from_grid

LEVELS = ("exact", "open")


def standardize(x: jax.Array, range_: float = 2.0) -> jax.Array:
    """(x - mean) / std * range_ / 4 over the whole tensor, any shape; a constant tensor becomes 0.

    Holds: mean 0, unbiased (n - 1) standard deviation range_ / 4, so that [-range_/2, range_/2] spans two of them to
    either side. Source: normalize in LifeQuant model/quantization.py."""
    centered = x - jnp.mean(x)
    variance = jnp.sum(jnp.square(centered)) / max(x.size - 1, 1)
    # The derivative of the square root is infinite at 0, so a constant tensor is replaced before it.
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    return centered / deviation * (range_ / 4)


def _one_bit_codes(x: jax.Array, levels: str) -> Codes:
    magnitude = jnp.mean(jnp.abs(x)).astype(jnp.float32)
    if levels == "open":
        return Codes(jnp.sign(x), magnitude, jnp.float32(0))
    return Codes((x >= 0).astype(jnp.float32), 2 * magnitude, jnp.float32(0.5))


def proxq(bits: int, *, range_: float = 2.0, levels: str = "exact") -> Quantizer:
    """Weights standardized to mean 0 and standard deviation range_ / 4 of the whole tensor, then rounded.

    levels="exact": clamped to [-range_/2, range_/2] and put on exactly 2**bits levels, both ends included.
    levels="open": round(xn n) / n with n = 2**bits - 1 and no clamp, the original, which takes 31 levels and more at
    4 bits. Gradient: that of the standardized value through mean and deviation, 1 at the clamp's bounds.
    1 bit: sign(x) mean|x|, straight through, where sign(0) is +1 ("exact") or 0 ("open").

    range_ is 2 in LifeQuant's ResNets and Office models, 0.5 in its mobilenet-v2-cifar-100. Source: LifeQuant
    (ICCV 2023), weight_quantize_fn.

    Args:
        range_: width of the grid, positive.
        levels: exact or open, see above.

    Example:
        >>> quantizer = lq.quantizers.proxq(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-0.33, -0.33, 0.33, 0.33]
    """
    check_choice(LEVELS, levels, "levels")
    if not range_ > 0:
        raise Refusal(f"range_={range_!r} must be positive")
    if check_bits(bits) == 1:
        middle = 0.5 if levels == "exact" else 0.0
        return from_grid(
            bits,
            lambda x: _one_bit_codes(x, levels),
            lambda x: x,
            lambda x, values, mask: hold_signs(x, values - middle, mask),
        )
    steps = 2**bits - 1
    half = range_ / 2

    def clamped(x: jax.Array) -> jax.Array:
        return clamp(standardize(x, range_), -half, half)

    def exact(x: jax.Array) -> Codes:
        level = jnp.round((clamped(x) + half) * (steps / range_))
        return Codes(level, jnp.float32(range_ / steps), jnp.float32(steps / 2))

    def original(x: jax.Array) -> Codes:
        return Codes(jnp.round(standardize(x, range_) * steps), jnp.float32(1 / steps), jnp.float32(0))

    # In standard deviations, of which there are four in range_.
    places = Levels(4 / steps, steps / 2, 0, steps) if levels == "exact" else Levels(4 / range_ / steps, 0.0)

    def hold(x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        return hold_standardized(x, values, mask, places)

    if levels == "open":
        return from_grid(bits, original, lambda x: standardize(x, range_), hold)
    return from_grid(bits, exact, clamped, hold)
