"""ClimbQ's quantizers: a normal CDF maps x to evenly spaced levels, so that all levels are used equally often."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import check_choice, lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant.base import Codes, Quantizer, check_bits
from lifeq_jax.quant.hold import NormalLevels, hold_standardized
from lifeq_jax.quant.proxq import LEVELS, standardize
from lifeq_jax.quant.rounding import from_grid, identity, straight_through

UNIT = 4.0  # range_ of `standardize` that gives a standard deviation of 1


def centered_cdf(t: jax.Array) -> jax.Array:
    """2 Phi(t) - 1, any shape, in [-1, 1] and odd; Phi is the standard normal cumulative distribution."""
    return jax.lax.erf(t * math.sqrt(0.5))


def cdf_codes(t: jax.Array, bits: int, reach: float, levels: str = "exact") -> Codes:
    """Phi(t) on the grid {i / n}, n = 2**bits - 1, ties to even, as values from -reach to reach; `values` float32.

    1 bit with levels="open": the sign of Phi(t), which is 1 wherever float32 can tell Phi(t) from 0."""
    steps = 2**bits - 1
    share = (1 + centered_cdf(t)) / 2
    level = jnp.sign(share) if bits == 1 and levels == "open" else jnp.round(share * steps)
    return Codes(level, jnp.float32(2 * reach / steps), jnp.float32(steps / 2))


def _stay(x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """`Quantizer.hold` for a grid with a single code: any x has it."""
    del values
    return jnp.where(mask, jax.lax.stop_gradient(x), x)


def cdf(bits: int, *, levels: str = "exact") -> Quantizer:
    """2 round(n Phi((x - mean) / std)) / n - 1, n = 2**bits - 1: weights on 2**bits even levels from -1 to 1.

    Mean and unbiased (n - 1) standard deviation are those of the whole tensor; a constant tensor has (x - mean) / std =
    0. Ties go to even codes. Gradient: that of Phi, straight through the rounding, through mean and deviation too.

    The two `levels` differ at 1 bit only: "exact" rounds as at other bits and gives -1 and 1; "open" is the original,
    the sign of Phi, which makes every weight 1. Holds: normal weights occupy the inner levels equally, the
    two outermost half as much. Source: ClimbQ (NeurIPS 2022), weight_quantize_fn.

    Args:
        levels: exact or open, see above.

    Example:
        >>> quantizer = lq.quantizers.cdf(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-1.0, -0.33, 0.33, 1.0]
    """
    check_choice(LEVELS, levels, "levels")
    steps = 2 ** check_bits(bits) - 1

    def grid(x: jax.Array) -> Codes:
        return cdf_codes(standardize(x, UNIT), bits, 1.0, levels)

    def hold(x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        return hold_standardized(x, values, mask, NormalLevels(steps))

    same = bits == 1 and levels == "open"
    return from_grid(bits, grid, lambda x: centered_cdf(standardize(x, UNIT)), _stay if same else hold)


def sample_normalized(share: jax.Array) -> jax.Array:
    """share (B,) divided by its sum over the batch; unchanged for a batch of one example, or where all shares are 0.

    With 128 examples the result is about 1/128 for every class, so classes hardly differ."""
    total = jnp.sum(share)
    return share if share.size == 1 else share / jnp.where(total > 0, total, 1.0)


RATIOS: dict[str, Callable[[jax.Array], jax.Array] | None] = {
    "class": lambda share: share,
    "none": None,
    "sample_normalized": sample_normalized,
}
"""Share (B,) of the batch that has each example's class -> its class ratio p (B,); None: classes do not matter."""


def _through(bits: int, deviation: float | jax.Array, act_range: float, levels: str) -> Quantizer:
    """The activation quantizer that maps x through the normal CDF of mean 0 and `deviation`, a scalar or (B,)."""

    def scale(x: jax.Array) -> jax.Array:
        return jnp.reshape(deviation, (-1,) + (1,) * (x.ndim - 1)).astype(x.dtype)

    def grid(x: jax.Array) -> Codes:
        return cdf_codes(x / scale(x), bits, act_range, levels)

    def relax(x: jax.Array) -> jax.Array:
        return act_range * centered_cdf(x / scale(x))

    def hold(x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.where(mask, NormalLevels(2**bits - 1).places(values) * scale(x), x)

    rounded = from_grid(bits, grid, relax, _stay if bits == 1 and levels == "open" else hold)

    def apply(learned: dict, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        y = rounded.apply(learned, x, key)
        # y never exceeds the bound. The minimum only stops the compiler from fusing the grid's product with a following
        # sum: one term would then go in unrounded, and opposite levels would add up to some 1e-8 instead of 0.
        return straight_through(jnp.minimum(jax.lax.stop_gradient(y), 2 * act_range), y)

    return rounded._replace(apply=apply)


def cdf_activation(
    bits: int,
    *,
    act_range: float = 2.0,
    ratio: str = "sample_normalized",
    eval_ratio: float = 0.0,
    levels: str = "exact",
) -> Quantizer:
    """(2 round(n Phi(x / sigma)) / n - 1) act_range, n = 2**bits - 1: 2**bits even levels; sigma = 2 - p, p in [0, 1].

    p is the class ratio of x's example, x (B, ..). In a training batch (`of_batch`) ratio="class" takes the share of
    the batch that has the example's class, so examples of a large class pass a narrower distribution than those of a
    small one; "sample_normalized" is the original, see there; "none" takes eval_ratio and has no `of_batch`. In
    evaluation, where classes are unknown, p is eval_ratio: 0, and 1 in the original's ImageNet program.

    With "class", which the paper describes, sigma tells the network the class in training but not in evaluation, so
    accuracy is far lower than without scaling (results/LOG.md).

    "sample_normalized" divides by the sum of the shares that `of_batch` is given: padding should have share 0, and each
    of several devices divides by its own sum. Ties go to even codes. Gradient: that of Phi, straight through the
    rounding; none to sigma. levels as in `cdf`. Holds: opposite levels add up to exactly 0, on which the gradient of a
    ReLU after a residual sum depends.

    Source: ClimbQ (NeurIPS 2022), class distribution scaling, activation_quantize_fn.

    Args:
        act_range: largest output.
        ratio: sample_normalized, class or none, see above.
        eval_ratio: p in evaluation, 0 to 1.
        levels: as in `cdf`.

    Example:
        >>> quantizer = lq.quantizers.cdf_activation(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-0.67, -0.67, 0.67, 0.67]
    """
    check_choice(LEVELS, levels, "levels")
    class_ratio = lookup(RATIOS, ratio, "ratio")
    if not 0 < act_range < math.inf:
        raise Refusal(f"act_range={act_range!r} must be positive and finite")
    if not 0 <= eval_ratio <= 1:
        raise Refusal(f"eval_ratio={eval_ratio!r} is out of range; choose 0 to 1")
    if check_bits(bits) == 32:
        return identity()

    evaluation = _through(bits, 2 - eval_ratio, act_range, levels)
    if class_ratio is None:
        return evaluation

    def of_batch(share: jax.Array) -> Quantizer:
        return _through(bits, 2 - jax.lax.stop_gradient(class_ratio(share)), act_range, levels)

    return evaluation._replace(of_batch=of_batch)
