"""Activation quantizers in a program: what comes before one, up to the last integers, and its codes, in one step."""

from typing import NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.export.builder import FIXED_BITS, Base, Builder, Value, held, narrowing
from lifeq_jax.export.function import evaluate
from lifeq_jax.export.grid import CodesOf, Scale, Staircase, codes_of, scale_of, staircases
from lifeq_jax.export.materialize import TABLE, to_integers
from lifeq_jax.export.program import Integers
from lifeq_jax.export.requantize import Fit, Formula, Line, fit, places
from lifeq_jax.quant.base import Quantizer

CLOSE = 0.01  # of a level: where a line through evenly spaced levels is further off, the levels get a table


class Staged(NamedTuple):
    """An activation quantizer in a program: code = (integers + shift) / factor."""

    layer: str
    bits: int
    source: str  # integers that it is computed from
    value: Value
    factor: int
    shift: int
    thresholds: int
    misplaced: int  # thresholds that are not where the trained network has them
    furthest: float  # of those, in levels

    @property
    def integers(self) -> Integers:
        """What the program computes."""
        return self.value.base.integers


class _Source(NamedTuple):
    """What a quantizer is given, as a function of integers t = floor(x / 2**pre)."""

    base: Base
    pre: int
    formula: Formula
    low: np.ndarray  # of t, () or (C,)
    high: np.ndarray


def quantize(builder: Builder, value: Value, quantizer: Quantizer, learned: PyTree, rank: int) -> Staged:
    """Adds the ops that give the codes of `quantizer` at `value`; rank: axes of its input, the batch's included.

    One `requantize` where the codes rise evenly with the accumulator, as uniform quantizers after batch norm and ReLU
    do; a table of all integers where they are few, `requantize` to finer integers and `steps` else. Refuses a quantizer
    that looks at the whole batch, and one without limits."""
    source = _source(value.base)
    scale = scale_of(quantizer, learned, value.base.integers.shape[-1], rank, builder.layer)
    per_channel = max(scale.scale.size, scale.zero.size) > 1
    channels = value.base.integers.shape[-1] if per_channel else 1
    codes = _codes(value, quantizer, learned, rank, channels)
    stairs = staircases(codes, channels, *_interval(source), builder.layer)
    factor, shift = _grid(scale, per_channel)
    stairs = [Staircase(stair.edge, factor * stair.code - shift) for stair in stairs]
    even = all(np.all(np.diff(stair.code) == 1) for stair in stairs)
    if per_channel and not even:
        if value.function is None:
            raise Refusal(f"layer {builder.layer} quantizes each channel by itself, with codes that do not rise evenly")
        return quantize(builder, held(*to_integers(builder, value)), quantizer, learned, rank)
    step = scale.scale / factor
    result = _evenly(source, stairs, step) if even else None
    if (result is None or result.misplaced) and _is_small(value.base):
        found, result = _looked_up(builder, source, stairs[0])
    elif result is None or (result.furthest > CLOSE and not per_channel):
        found, result = _by_edges(builder, source, stairs[0], float(step))
    else:
        low, high = min(stair.code[0] for stair in stairs), max(stair.code[-1] for stair in stairs)
        found = builder.requantize(source.base.integers, result.line, low, high, source.pre)
    out = _output(found, scale, factor, per_channel)
    return Staged(
        builder.layer,
        quantizer.bits,
        source.base.integers.name,
        out,
        factor,
        shift,
        result.checked,
        result.misplaced,
        result.furthest,
    )


def _source(base: Base) -> _Source:
    pre = narrowing(base.integers.reach)

    def formula(t: np.ndarray) -> np.ndarray:
        return base.formula((t + 0.5) * 2.0**pre) if pre else base.formula(t)

    return _Source(base, pre, formula, base.low >> pre, base.high >> pre)


def _interval(source: _Source) -> tuple[float, float]:
    ends = np.stack([np.broadcast_to(source.formula(np.atleast_1d(end)), _channels(source)) for end in source[3:]])
    return float(ends.min()), float(ends.max())


def _channels(source: _Source) -> tuple[int, ...]:
    base = source.base
    return np.broadcast_shapes((1,), base.slope.shape, base.offset.shape, base.low.shape)


def _codes(value: Value, quantizer: Quantizer, learned: PyTree, rank: int, channels: int) -> CodesOf:
    """Of the function and the quantizer after it."""

    def of(x: np.ndarray, channel: np.ndarray) -> np.ndarray:
        y = evaluate(value.function, x).reshape(-1, *[1] * (rank - 1))
        every = codes_of(quantizer, learned, np.broadcast_to(y, (*y.shape[:-1], channels)))
        return every.reshape(-1, channels)[np.arange(len(x)), channel]

    return of


def _grid(scale: Scale, per_channel: bool) -> tuple[int, int]:
    """(factor, shift): integers = factor * code - shift; the codes where channels have zeros of their own."""
    if per_channel:
        return 1, 0
    twice = round(2 * float(scale.zero))
    return (2, twice) if twice % 2 else (1, twice // 2)


def _output(found: Integers, scale: Scale, factor: int, per_channel: bool) -> Value:
    if not per_channel:
        return held(found, float(scale.scale) / factor)
    step, zero = scale.scale.astype(np.float32), scale.zero.astype(np.float32)
    offset = -scale.scale * scale.zero
    low, high = np.asarray(found.low), np.asarray(found.high)
    return Value(Base(found, scale.scale, offset, lambda x: (x.astype(np.float32) - zero) * step, low, high))


def _is_small(base: Base) -> bool:
    return base.slope.size == base.offset.size == 1 and base.integers.high - base.integers.low < TABLE


def _looked_up(builder: Builder, source: _Source, stair: Staircase) -> tuple[Integers, Fit]:
    """A table of all integers that there are."""
    x = source.base.integers
    numbers = source.formula(np.arange(x.low, x.high + 1))
    table = stair.code[np.searchsorted(stair.edge, numbers, side="right")].astype(np.int32)
    found = builder.emit("lookup", (x,), x.shape, table.min(), table.max(), tensors={"table": table}, first=x.low)
    return found, Fit(_constant(0, 1).line, int(np.count_nonzero(np.diff(table))), 0, 0.0)


def _evenly(source: _Source, stairs: list[Staircase], step: np.ndarray) -> Fit:
    """A line whose whole parts are the codes."""
    low, high = min(stair.code[0] for stair in stairs), max(stair.code[-1] for stair in stairs)
    level = np.arange(low + 1, high + 1, dtype=np.int64)
    edge = np.stack([_spread(stair, level) for stair in stairs], axis=1)
    if not len(level):
        return _constant(int(low), edge.shape[1])
    finite = np.isfinite(edge)
    first, last = np.argmax(finite, axis=0), len(level) - 1 - np.argmax(finite[::-1], axis=0)
    columns = np.arange(edge.shape[1])
    several = finite.any(axis=0) & (last > first)
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = (level[last] - level[first]) / (edge[last, columns].astype(np.float64) - edge[first, columns])
        density = np.where(several, rise, 1 / step)
        start = np.where(finite.any(axis=0), level[first] - density * edge[first, columns], 0.0)
    return _fitted(source, level, edge, density, start)


def _spread(stair: Staircase, level: np.ndarray) -> np.ndarray:
    """The edge of each level: -inf where the codes begin above it, inf where they never reach it."""
    edge = np.where(level <= stair.code[0], -np.inf, np.inf).astype(np.float32)
    edge[(level > stair.code[0]) & (level <= stair.code[-1])] = stair.edge
    return edge


def _constant(code: int, channels: int) -> Fit:
    nothing = np.zeros(channels, np.int64)
    return Fit(Line(nothing.astype(np.int32), nothing + code, nothing.astype(np.uint8)), 0, 0, 0.0)


def _fitted(source: _Source, level: np.ndarray, edge: np.ndarray, density: np.ndarray, start: np.ndarray) -> Fit:
    """A line at level[j] where the source passes edge[j], (J, 1) or (J, C); nominally density * value + start."""
    shape = np.broadcast_shapes(_channels(source), (edge.shape[1],))
    slope, low, high = (np.broadcast_to(item, shape) for item in (source.base.slope, source.low, source.high))
    found = places(source.formula, edge, low, high, slope >= 0)._replace(level=level)
    middle = source.base.slope * (2.0**source.pre - 1) / 2 if source.pre else 0.0
    nominal = np.maximum(np.abs(slope) * 2.0**source.pre * density, 1e-30)
    return fit(
        found, np.broadcast_to(nominal, shape), np.broadcast_to((source.base.offset + middle) * density + start, shape)
    )


def _by_edges(builder: Builder, source: _Source, stair: Staircase, step: float) -> tuple[Integers, Fit]:
    """A line to integers that are fine enough to tell all edges apart, and a table of the edges among them."""
    slope = float(np.abs(source.base.slope).max()) * 2.0**source.pre
    largest = max(float(np.abs(stair.edge).max()), slope, 1e-30)
    density = 2.0 ** (FIXED_BITS - 2 - np.ceil(np.log2(largest)))
    level = np.round(stair.edge.astype(np.float64) * density).astype(np.int64)
    level = np.maximum.accumulate(level - np.arange(len(level))) + np.arange(len(level))  # no two alike
    result = _fitted(source, level, stair.edge[:, None], np.array([density]), np.zeros(1))
    fine = builder.requantize(source.base.integers, result.line, level[0] - 1, level[-1], source.pre)
    code = stair.code.astype(np.int32)
    tensors = {"edges": level.astype(np.int32), "codes": code}
    found = builder.emit("steps", (fine,), fine.shape, code.min(), code.max(), tensors=tensors)
    return found, result._replace(furthest=result.furthest / density / step)
