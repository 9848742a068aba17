"""Batch norm, activation function and quantizer in integers: places of the thresholds, and one line through them.

An accumulator x is an integer, and what follows it up to the next codes is a step function: code k begins at some x. A
trained network is these places. `fit` finds multiplier, bias and shift with which floor((x multiplier + bias) /
2**shift) has its steps there, and both sides of every one are tried. NumPy only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

MULTIPLIER_BITS = 31  # of a positive int32
PRODUCT_BITS = 61  # x * multiplier and bias stay below 2**61 each, so that their sum is an int64
FLOAT_BITS = 22  # of an accumulator that are right after a product, a difference, a product and a sum in float32
SMALLEST = 2.0**-30  # levels per accumulator; the inverse of the largest
NARROW = 0.1  # of the room that one accumulator gives the bias: below it a better slope is searched
GOLDEN = (5**0.5 - 1) / 2
SEARCH = 60  # golden-section steps: the bracket shrinks by 3e-13

Formula = Callable[[np.ndarray], np.ndarray]  # accumulators (.., C) -> what the quantizer sees, float32


class Thresholds(NamedTuple):
    """Where a step function of t = sign * x rises: level[j] is reached from place[j] on, per channel (J, C).

    A place outside of low .. high is one beyond: such a level is always, or never, reached. blur: how far apart two
    of the largest accumulators are that the few roundings of float32, in which the network was trained, may exchange; 0
    below 2**22."""

    level: np.ndarray  # (J,) int64, ascending
    place: np.ndarray  # (J, C) int64
    sign: np.ndarray  # (C,) 1 or -1: whether the values rise with x
    low: np.ndarray  # (C,) int64, the least t
    high: np.ndarray  # (C,)

    @property
    def blur(self) -> np.ndarray:
        """(C,)"""
        return np.maximum(np.abs(self.low), np.abs(self.high)) >> FLOAT_BITS

    @property
    def above(self) -> np.ndarray:
        """(J, C): the smallest t that must have reached the level."""
        return self.place + self.blur

    @property
    def below(self) -> np.ndarray:
        """(J, C): the largest t that must not."""
        return self.place - 1 - self.blur


class Line(NamedTuple):
    """floor((x * multiplier + bias) / 2**shift), per channel."""

    multiplier: np.ndarray  # (C,) int32
    bias: np.ndarray  # (C,) int64
    shift: np.ndarray  # (C,) uint8

    def at(self, x: np.ndarray) -> np.ndarray:
        """Its int64 values at int64 x (.., C)."""
        return (x * self.multiplier.astype(np.int64) + self.bias) >> self.shift.astype(np.int64)


class Fit(NamedTuple):
    """A line, and how it meets the thresholds."""

    line: Line
    checked: int  # thresholds that an accumulator can pass, each tried on both sides
    misplaced: int
    furthest: float  # of the misplaced ones, how many accumulators off, times the slope: in levels


def places(formula: Formula, edges: np.ndarray, low: np.ndarray, high: np.ndarray, rising: np.ndarray) -> Thresholds:
    """The thresholds at which formula(x) reaches edges (J, C) or (J, 1), by bisection; levels are 0, 1, ..

    x from low to high (C,); rising (C,) bool: whether the formula, monotone, rises with x."""
    sign = np.where(rising, 1, -1).astype(np.int64)
    first, last = np.where(rising, low, -high), np.where(rising, high, -low)
    shape = (len(edges), len(sign))
    below, above = np.broadcast_to(first - 1, shape).copy(), np.broadcast_to(last + 1, shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) >> 1
        reached = formula(sign * np.clip(middle, first, last)) >= edges
        open_ = above - below > 1
        above = np.where(open_ & reached, middle, above)
        below = np.where(open_ & ~reached, middle, below)
    return Thresholds(np.arange(shape[0], dtype=np.int64), above, sign, first, last)


def fit(found: Thresholds, slope: np.ndarray, start: np.ndarray) -> Fit:
    """The line through the thresholds; `slope`, positive, and `start` (C,) are nominal: levels per t, and at t = 0.

    A slope that leaves the bias no room gives way to the best one near it. A channel that passes no threshold gets a
    constant. Where no line is right everywhere, the misplaced thresholds are counted."""
    reached, missed = found.place <= found.high, found.place > found.low
    passed = reached & missed
    constant = np.logical_not(passed.any(axis=0))
    slope = np.where(constant, 1.0, np.clip(slope, SMALLEST, 1 / SMALLEST))
    level, above, below = found.level.astype(np.float64)[:, None], found.above, found.below

    def room(slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low = np.where(reached, level - above * slope, -np.inf).max(axis=0)
        return low, np.where(missed, level - below * slope, np.inf).min(axis=0)

    low, high = room(slope)
    narrow = high - low < NARROW * slope
    if np.any(narrow):
        span = np.where(passed, found.place, 0).max(axis=0) - np.where(passed, found.place, 0).min(axis=0)
        slope = np.where(narrow, _best_slope(slope, span, room), slope)
    line = _constants(found, _in_integers(found, slope, start, reached, missed), constant)
    return _checked(found, line, slope, passed)


def _best_slope(slope: np.ndarray, span: np.ndarray, room: Callable[[np.ndarray], tuple]) -> np.ndarray:
    """The slope with the most room, a concave function of it, by golden section."""
    reach = np.minimum(0.9, 4 / (span + 1) + 1e-6)
    left, right = slope * (1 - reach), slope * (1 + reach)

    def width(slope: np.ndarray) -> np.ndarray:
        low, high = room(slope)
        return (high - low) / slope

    for _ in range(SEARCH):
        lower, upper = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
        better = width(lower) > width(upper)
        left, right = np.where(better, left, lower), np.where(better, upper, right)
    return (left + right) / 2


def normalized(slope: np.ndarray, largest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(multiplier, shift) int64 of slopes > 0: 31 bits, fewer where `largest`, the largest value, would not fit."""
    exponent = np.floor(np.log2(slope)).astype(np.int64)
    bits = np.array([int(value).bit_length() for value in largest.reshape(-1)]).reshape(largest.shape)
    shift = np.minimum(MULTIPLIER_BITS - 1 - exponent, PRODUCT_BITS - 1 - bits)
    multiplier = np.round(slope * 2.0**shift).astype(np.int64)
    shift = np.where(multiplier >= 2**MULTIPLIER_BITS, shift - 1, shift)
    return np.round(slope * 2.0**shift).astype(np.int64), shift


def _in_integers(
    found: Thresholds, slope: np.ndarray, start: np.ndarray, reached: np.ndarray, missed: np.ndarray
) -> Line:
    """Multiplier and shift of the slope, and the bias in the middle of those that are right."""
    largest = np.broadcast_to(np.abs(found.level).max() + 1, slope.shape)
    multiplier, shift = normalized(slope, largest)
    target, furthest = found.level[:, None] << shift, 1 << PRODUCT_BITS
    low = np.where(reached, target - found.above * multiplier, -furthest).max(axis=0)
    high = np.where(missed, target - found.below * multiplier - 1, furthest).min(axis=0)
    nominal = np.round(np.clip(start * 2.0**shift, -furthest, furthest)).astype(np.int64)
    open_ = (low == -furthest) | (high == furthest)
    bias = np.where(open_, np.minimum(np.maximum(nominal, low), high), (low >> 1) + (high >> 1))
    return Line((multiplier * found.sign).astype(np.int32), bias, shift.astype(np.uint8))


def _constants(found: Thresholds, line: Line, constant: Any) -> Line:
    always = np.where(found.place <= found.low, found.level[:, None], found.level[0] - 1).max(axis=0)
    return Line(
        np.where(constant, 0, line.multiplier).astype(np.int32),
        np.where(constant, always, line.bias),
        np.where(constant, 0, line.shift).astype(np.uint8),
    )


def _checked(found: Thresholds, line: Line, slope: np.ndarray, passed: np.ndarray) -> Fit:
    """Tries both sides of every threshold that the accumulators of its channel pass."""
    level = found.level[:, None]
    sides = (np.clip(side, found.low, found.high) for side in (found.above, found.below))
    above, below = (line.at(found.sign * side) for side in sides)
    wrong = passed & ~((above >= level) & (below < level))
    constant = (found.place <= found.low) & (below < level) | (found.place > found.high) & (above >= level)
    wrong |= constant
    furthest = 0.0
    if wrong.any():
        multiplier = np.maximum(np.abs(line.multiplier.astype(np.int64)), 1)
        own = -((line.bias - (level << line.shift.astype(np.int64))) // multiplier)
        furthest = float(np.max(np.where(wrong, np.abs(own - found.place) * slope, 0)))
    return Fit(line, int(passed.sum()), int(wrong.sum()), furthest)
