"""Range estimators: the smallest and largest value that a quantizer should represent, from calibration tensors.

All follow Overcoming Oscillations (ICML 2022), quantization/range_estimators.py. Every array is float32 and of a fixed
shape: a scalar, or (1, .., C) where each channel, the last axis, has a range of its own."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Ranges

# With an odd number of steps, shifting by whole steps leaves the zero point at k + 1/2. Moving the lower end by this
# fraction of the width breaks the tie, so that both k and k + 1 are tried.
NUDGE = 2e-6
GOLDEN = (5**0.5 - 1) / 2
GOLDEN_STEPS = 30  # 0.618**30 = 5e-7 of the bracket, the resolution of float32


class Target(NamedTuple):
    """The quantizer whose range is sought."""

    bits: int
    symmetric: bool
    per_channel: bool
    learned: Callable[[jax.Array, jax.Array], PyTree]  # (lowest, highest value) -> learned state
    value: Callable[[PyTree, jax.Array], jax.Array]  # (learned, x) -> quantized x


class Options(NamedTuple):
    """Arguments of the estimators."""

    percentile: float = 0.0  # per cent of the values that are left out at either end
    momentum: float = 0.9  # weight of the old estimate in the moving average
    candidates: int = 100  # thresholds tried by the grid search
    margin: float = 0.5  # how far beyond the largest magnitude the searches go


class Range(NamedTuple):
    """An estimate that is a range."""

    low: jax.Array
    high: jax.Array
    seen: jax.Array  # int32, tensors so far


class Search(NamedTuple):
    """The state of a search. The first tensor fixes all fields but the last."""

    reach: jax.Array  # scalar, the largest magnitude a threshold may have
    low: jax.Array  # scalars, bounds of the thresholds
    high: jax.Array
    one_sided: jax.Array  # bool, no value below 0: the range begins at 0
    found: jax.Array  # losses (K, ..) of all candidates, or the newest range (2, ..)


def _axes(x: jax.Array, per_channel: bool) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1 if per_channel else x.ndim))


def extremes(x: jax.Array, per_channel: bool = False, percentile: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Smallest and largest value of x, scalars, or (1, .., C) per channel.

    With a percentile p > 0 the p-th and (100 - p)-th percentile instead, interpolated linearly as NumPy does."""
    x, axes = x.astype(jnp.float32), _axes(x, per_channel)
    if percentile:
        ends = jnp.array([percentile, 100 - percentile])
        low, high = jnp.percentile(x, ends, axis=axes, keepdims=per_channel)
        return low, high
    return jnp.min(x, axes, keepdims=per_channel), jnp.max(x, axes, keepdims=per_channel)


def _minmax(target: Target, options: Options, momentum: float) -> Ranges:
    def start(x: jax.Array) -> Range:
        low, high = extremes(x, target.per_channel)
        return Range(jnp.zeros_like(low), jnp.zeros_like(high), jnp.int32(0))

    def update(old: Range, x: jax.Array) -> Range:
        low, high = extremes(x, target.per_channel, options.percentile)
        share = jnp.where(old.seen > 0, jnp.float32(momentum), 0.0)
        return Range((1 - share) * low + share * old.low, (1 - share) * high + share * old.high, old.seen + 1)

    return Ranges(start, update, lambda estimate: target.learned(estimate.low, estimate.high))


def minmax(target: Target, options: Options) -> Ranges:
    """The extremes of the newest tensor, or its percentiles."""
    return _minmax(target, options, 0.0)


def running_minmax(target: Target, options: Options) -> Ranges:
    """Exponential average of the tensors' extremes: momentum * old + (1 - momentum) * new, begun with the first."""
    return _minmax(target, options, options.momentum)


def loss(target: Target, x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Sum of squared errors of x quantized to the range [low, high], a scalar, or (1, .., C) per channel."""
    error = jnp.square(x - target.value(target.learned(low, high), x))
    return jnp.sum(error, _axes(x, target.per_channel), keepdims=target.per_channel)


def _begin(target: Target, options: Options, x: jax.Array, found: int) -> Search:
    low, high = extremes(x)
    reach = jnp.maximum(-low, high) + options.margin
    bounds = (-reach, reach) if target.symmetric else (low - options.margin, high + options.margin)
    shape = extremes(x, target.per_channel)[0].shape
    return Search(reach, *bounds, low >= 0, jnp.zeros((found, *shape)))


def _shifts(target: Target) -> list[tuple[int, float]]:
    """(steps, nudge of the lower end) of every shift, in the original's order, which has 0 with both signs."""
    if target.symmetric:
        return [(0, 0.0)]
    return [(sign * steps, sign * NUDGE) for steps in range(2**target.bits // 4) for sign in (1, -1)]


def mse(target: Target, options: Options) -> Ranges:
    """The range of least squared error, summed over all tensors, among a grid of candidates.

    Candidates: thresholds k/n of the reach, k = 1..n = `candidates`; the reach is the first tensor's largest magnitude
    plus `margin`, the same for all channels. An asymmetric quantizer also tries them shifted by up to 2**bits / 4 steps
    either way, unless the first tensor has no negative value. The original's margin 0.5 is coarse for small weights.
    Candidates are tried one by one: the memory needed is a few copies of the tensor and one number per channel for each
    candidate, of which there are n, or n 2**bits / 2 if asymmetric."""
    grid = [(count, *shift) for count in range(1, options.candidates + 1) for shift in _shifts(target)]
    counts, shifts, nudges = jnp.array(grid, jnp.float32).T

    def thresholds(state: Search, count: jax.Array, shift: jax.Array, nudge: jax.Array) -> tuple[jax.Array, jax.Array]:
        half = state.reach * (count / options.candidates)
        skew = shift * (2 * half / (2**target.bits - 1))
        low = jnp.where(state.one_sided, 0.0, jnp.maximum(skew - half * (1 - nudge), state.low))
        return low, jnp.minimum(skew + half, state.high)

    def update(state: Search, x: jax.Array) -> Search:
        x = x.astype(jnp.float32)

        def one(candidate: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            def computed() -> jax.Array:
                return loss(target, x, *thresholds(state, *candidate))

            # A range that begins at 0 is not shifted; skipping these candidates makes one-sided tensors cheap.
            shifted = state.one_sided & ((candidate[1] != 0) | (candidate[2] < 0))
            return jax.lax.cond(shifted, lambda: jnp.full(state.found.shape[1:], jnp.inf), computed)

        return state._replace(found=state.found + jax.lax.map(one, (counts, shifts, nudges)))

    def learned(state: Search) -> PyTree:
        best = jnp.argmin(state.found, axis=0)
        return target.learned(*thresholds(state, counts[best], shifts[best], nudges[best]))

    return Ranges(lambda x: _begin(target, options, x, len(grid)), update, learned)


def minimize(function: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array) -> jax.Array:
    """The minimizer of an elementwise `function` in [low, high], by golden-section search for each element.

    function: (..) -> (..), element i a function of element i. Holds: exact to 5e-7 of the bracket where the function
    has one minimum, else a local minimum. Returns the best of all points tried."""

    def step(_: int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, left, right, at_left, at_right = state
        leftward = at_left <= at_right
        low, high = jnp.where(leftward, low, left), jnp.where(leftward, right, high)
        new = jnp.where(leftward, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = function(new)
        left, right = jnp.where(leftward, new, right), jnp.where(leftward, left, new)
        at_left, at_right = jnp.where(leftward, value, at_right), jnp.where(leftward, at_left, value)
        return low, high, left, right, at_left, at_right

    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    state = low, high, left, right, function(left), function(right)
    _, _, left, right, at_left, at_right = jax.lax.fori_loop(0, GOLDEN_STEPS, step, state)
    return jnp.where(at_left <= at_right, left, right)


def _best_range(target: Target, x: jax.Array, state: Search) -> jax.Array:
    """The range (2, ..) of least squared error on x alone: its half width, then, if asymmetric, also its shift."""
    narrow = jnp.broadcast_to(0.01 * state.reach, state.found.shape[1:])
    wide = jnp.broadcast_to(state.reach, state.found.shape[1:])

    def centered() -> jax.Array:
        def low(half: jax.Array) -> jax.Array:
            return jnp.where(state.one_sided, 0.0, -half)

        half = minimize(lambda half: loss(target, x, low(half), half), narrow, wide)
        return jnp.stack([low(half), half])

    def best_shift(half: jax.Array) -> jax.Array:
        most = half * (2 / (2**target.bits - 1) * (2**target.bits // 4))
        return minimize(lambda shift: loss(target, x, shift - half, shift + half), -most, most)

    def at_best_shift(half: jax.Array) -> jax.Array:
        shift = best_shift(half)
        return loss(target, x, shift - half, shift + half)

    def shifted() -> jax.Array:
        half = minimize(at_best_shift, narrow, wide)
        shift = best_shift(half)
        return jnp.stack([shift - half, shift + half])

    return centered() if target.symmetric else jax.lax.cond(state.one_sided, centered, shifted)


def golden_section(target: Target, options: Options) -> Ranges:
    """The range of least squared error on the newest tensor, by golden-section search from 1 % to 100 % of the reach.

    Reach as in `mse`. A symmetric quantizer needs 32 passes over the tensor; an asymmetric one searches the shift
    inside the search for the width, about 1000 passes. The original uses another algorithm, scipy's bounded search
    (Brent's: parabolic steps between golden ones); where the error has several minima, the two may find different ones.
    The memory needed is a few copies of the tensor."""

    def update(state: Search, x: jax.Array) -> Search:
        return state._replace(found=_best_range(target, x.astype(jnp.float32), state))

    return Ranges(
        lambda x: _begin(target, options, x, 2), update, lambda state: target.learned(state.found[0], state.found[1])
    )


class RangeEstimator(NamedTuple):
    """An estimator and the fields of Options that it uses."""

    make: Callable[[Target, Options], Ranges]
    uses: tuple[str, ...]


RANGES: dict[str, RangeEstimator] = {
    "golden_section": RangeEstimator(golden_section, ("margin",)),
    "minmax": RangeEstimator(minmax, ("percentile",)),
    "mse": RangeEstimator(mse, ("candidates", "margin")),
    "running_minmax": RangeEstimator(running_minmax, ("percentile", "momentum")),
}

LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    "percentile": (lambda value: 0 <= value < 50, "0 up to 50"),
    "momentum": (lambda value: 0 <= value < 1, "0 up to 1"),
    "candidates": (lambda value: value >= 1, "1 or more"),
    "margin": (lambda value: value >= 0, "0 or more"),
}


def make_ranges(name: str, target: Target, options: Options) -> Ranges:
    """The row `name` of RANGES. Refuses an unknown name, and an option that is out of range or unused by the row."""
    row = lookup(RANGES, name, "ranges")
    for key, value in options._asdict().items():
        allowed, choices = LIMITS[key]
        if not allowed(value):
            raise Refusal(f"{key}={value!r} is out of range; choose {choices}")
        if key not in row.uses and value != Options._field_defaults[key]:
            users = ", ".join(sorted(other for other, candidate in RANGES.items() if key in candidate.uses))
            raise Refusal(f"{key}={value!r} has no effect with ranges={name!r}; choose ranges from {users}")
    return row.make(target, options)
