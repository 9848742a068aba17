"""LSQ: uniform quantizers whose scale, and zero point, are learned with the weights."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Codes, Quantizer, check_bits, dequantize
from lifeq_jax.quant.estimators import rounding, scale_gradient
from lifeq_jax.quant.ranges import Options, Target, extremes, make_ranges
from lifeq_jax.quant.rounding import clamp, identity

SMALLEST = 1e-8  # the least scale and the least range


class Form(NamedTuple):
    """How a learned state is read: the fixed properties of the quantizer."""

    bits: int
    symmetric: bool
    per_channel: bool
    log_scale: bool
    grad_scale: bool
    round: Callable[[jax.Array, jax.Array | None], jax.Array]

    @property
    def steps(self) -> int:
        """Distance between the lowest and the highest integer."""
        return 2**self.bits - 1


class Grid(NamedTuple):
    """scale, zero point and lowest integer of a learned state, float32, broadcastable to what they quantize."""

    scale: jax.Array
    zero: jax.Array
    low: jax.Array


def learned_from(form: Form, low: jax.Array, high: jax.Array) -> dict[str, jax.Array]:
    """The learned state whose grid covers [low, high], scalars or (1, .., C), widened to include 0 and 1e-8.

    Symmetric: signed where any value is below 0; scale = max(|low|, high) / int_max."""
    low, high = jnp.minimum(low, 0.0), jnp.maximum(high, SMALLEST)
    if form.symmetric:
        lowest = jnp.where(jnp.min(low) < 0, -(2.0 ** (form.bits - 1)), 0.0)
        scale = jnp.maximum(-low, high) / (lowest + form.steps)
        rest = {"low": lowest}
    else:
        scale = (high - low) / form.steps
        rest = {"zero": -low / scale}
    return {"scale": jnp.log(scale) if form.log_scale else scale, **rest}


def grid_of(form: Form, learned: PyTree) -> Grid:
    """The grid of a learned state, differentiable in scale and zero."""
    scale = jnp.exp(learned["scale"]) if form.log_scale else clamp(learned["scale"], SMALLEST, jnp.inf)
    if form.symmetric:
        return Grid(scale, jnp.float32(0), jax.lax.stop_gradient(learned["low"]))
    return Grid(scale, clamp(form.round(learned["zero"], None), 0.0, float(form.steps)), jnp.float32(0))


def slowed(form: Form, grid: Grid, x: jax.Array) -> Grid:
    """`grid`, with the gradients of scale and zero multiplied by LSQ's 1 / sqrt(numel int_max) if the form says so.

    numel counts the values of x that share a scale. Source: LSQ (Esser et al., 2020), section 2.2."""
    if not form.grad_scale:
        return grid
    shared = x.size // x.shape[-1] if form.per_channel else x.size
    factor = jax.lax.rsqrt(shared * (grid.low + form.steps))
    return grid._replace(scale=scale_gradient(grid.scale, factor), zero=scale_gradient(grid.zero, factor))


def integers(form: Form, grid: Grid, x: jax.Array, key: jax.Array | None = None) -> Codes:
    """clamp(round(x / scale) + zero, low, low + 2**bits - 1), values still float32 and differentiable."""
    level = form.round(x.astype(jnp.float32) / grid.scale, key) + grid.zero
    # `clamp` needs fixed bounds, and the lowest integer is an array; shifting integers by it is exact.
    values = clamp(level - grid.low, 0.0, float(form.steps)) + grid.low
    return Codes(values, grid.scale, grid.zero)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def straight_to_grid(form: Form, grid: Grid, x: jax.Array) -> jax.Array:
    """`integers` of x back as values, float32, any shape, for the estimator ste, with JAX's gradient of these two.

    The gradient of the scale is summed once, of (rounded - x) / scale inside the grid and of the bound outside, and
    only x is kept for it; JAX sums twice, and keeps the integers too. Source: LSQ (Esser et al., 2020), equation 3."""
    return dequantize(integers(form, grid, x))


def _to_grid(form: Form, grid: Grid, x: jax.Array) -> tuple[jax.Array, tuple[Grid, jax.Array]]:
    return straight_to_grid(form, grid, x), (grid, x)


def _from_grid(form: Form, saved: tuple[Grid, jax.Array], cotangent: jax.Array) -> tuple[Grid, jax.Array]:
    grid, x = saved
    place = x / grid.scale
    level = jnp.round(place) + grid.zero - grid.low
    inside = (level >= 0) & (level <= form.steps)
    rounded = jnp.clip(level, 0.0, float(form.steps)) + grid.low - grid.zero
    to_scale = cotangent * jnp.where(inside, rounded - place, rounded)
    to_zero = jnp.where(inside, 0.0, -cotangent * grid.scale)
    to_grid = Grid(_summed(to_scale, grid.scale), _summed(to_zero, grid.zero), jnp.zeros_like(grid.low))
    return to_grid, jnp.where(inside, cotangent, 0.0)


def _summed(values: jax.Array, like: jax.Array) -> jax.Array:
    """The sum over the values that share an element of `like`, a scalar or (1, .., C)."""
    axes = tuple(range(values.ndim - 1 if like.ndim else values.ndim))
    return jnp.sum(values, axis=axes, keepdims=like.ndim > 0)


straight_to_grid.defvjp(_to_grid, _from_grid)


def limited_to_grid(form: Form, grid: Grid, x: jax.Array) -> jax.Array:
    """x limited to the grid's lowest and highest value; gradient 1 up to both, beyond them that of the bound."""
    low = (grid.low - grid.zero) * grid.scale
    high = (grid.low + form.steps - grid.zero) * grid.scale
    return jnp.where(x < low, low, jnp.where(x > high, high, x)).astype(x.dtype)


def _quantizer(form: Form, ranges: str, options: Options, estimator: str) -> Quantizer:
    def apply(learned: PyTree, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        grid = slowed(form, grid_of(form, learned), x)
        if estimator == "ste":
            return straight_to_grid(form, grid, x.astype(jnp.float32)).astype(x.dtype)
        found = integers(form, grid, x, key)
        # Rounded again for each use, as in the original: EWGS scales the gradient of each use by its own sign.
        zero = slowed(form, grid_of(form, learned), x).zero
        return dequantize(found._replace(zero=zero)).astype(x.dtype)

    def codes(learned: PyTree, x: jax.Array) -> Codes:
        found = integers(form, grid_of(form, learned), x)
        return found._replace(values=found.values.astype(jnp.int32))

    def hold(learned: PyTree, x: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
        grid = slowed(form, grid_of(form, learned), x)
        return jnp.where(mask, dequantize(Codes(values, grid.scale, grid.zero)).astype(x.dtype), x)

    target = Target(form.bits, form.symmetric, form.per_channel, lambda low, high: learned_from(form, low, high), apply)
    return Quantizer(
        form.bits,
        lambda x: learned_from(form, *extremes(x, form.per_channel)),
        apply,
        lambda learned, x: limited_to_grid(form, grid_of(form, learned), x),
        codes,
        hold,
        make_ranges(ranges, target, options),
        estimator == "stochastic",
    )


def lsq(
    bits: int,
    *,
    symmetric: bool = True,
    per_channel: bool = False,
    log_scale: bool = False,
    grad_scale: bool = False,
    estimator: str = "ste",
    estimator_arg: float = 0.0,
    ranges: str = "mse",
    percentile: float = 0.0,
    momentum: float = 0.9,
    candidates: int = 100,
    margin: float = 0.5,
) -> Quantizer:
    """s (clamp(round(x / s) + z, low, low + 2**bits - 1) - z) with a learned scale s, 2 to 8 bits.

    symmetric: z = 0, low = -2**(bits-1), or 0 where the range estimator saw nothing below 0. Learned state
    {"scale", "low"}; low is not trained. asymmetric: low = 0, z learned as a float, rounded and clamped to the grid.
    Learned state {"scale", "zero"}. per_channel: one scale per index of the last axis, shape (1, .., C), else scalars.
    log_scale learns log s. grad_scale multiplies the gradients of s and z by 1 / sqrt(numel int_max).

    Gradient: that of the estimator (row of ESTIMATORS; estimator_arg 0 is its default) where the rounded integer is in
    the grid, both bounds included; outside, 0 for x and the bound's for s. `relax` limits x to the grid and does not
    scale gradients. ranges: row of RANGES, with percentile, momentum, candidates, margin as in `ranges.Options`.

    Source: LSQ (Esser et al., 2020), equations 1 to 5; LSQ+ (Bhalgat et al., 2020) for the zero point; the form is that
    of Overcoming Oscillations (ICML 2022), which clamps after rounding. `init` gives the learned state for the smallest
    and largest value of a tensor. Refuses 1 bit.

    Example:
        >>> quantizer = lq.quantizers.lsq(2)
        >>> x = np.array([-1.0, -0.25, 0.25, 1.0], np.float32)
        >>> [round(float(y), 2) for y in quantizer.apply(quantizer.init(x), x)]
        [-1.0, 0.0, 0.0, 1.0]
    """
    round_ = rounding(estimator, estimator_arg)
    if check_bits(bits) == 32:
        return identity()
    if bits == 1:
        raise Refusal("bits=1 is too few for lsq, whose signed grid would be -1 and 0; choose from 2 to 8, or 32")
    form = Form(bits, symmetric, per_channel, log_scale, grad_scale, round_)
    options = Options(percentile, momentum, candidates, margin)
    return _quantizer(form, ranges, options, estimator)
