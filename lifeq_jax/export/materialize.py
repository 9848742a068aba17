"""Converts real values of a program to integers where no quantizer gives them codes."""

import math

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.builder import FIXED_BITS, Builder, Value, held
from lifeq_jax.export.function import Function, Limited, Of, evaluate, limited
from lifeq_jax.export.program import Integers

TABLE = 2**14  # integers of a smaller range go through a table, whatever the function
Stepped = tuple[Integers, float]  # integers, and what one of them stands for


def fixed_exponent(largest: float) -> int:
    """k for which `largest` is below 2**FIXED_BITS in steps of 2**-k."""
    return FIXED_BITS - 1 - math.floor(math.log2(largest)) if largest > 0 else 0


def interval_of(value: Value) -> tuple[float, float]:
    """Least and largest real value of one whose function limits, see `limited`."""
    bounds = limited(value.function)
    assert bounds is not None
    low, high = (float(np.clip(end * bounds.factor, bounds.low, bounds.high)) for end in value.base.interval)
    return low, high


def to_integers(builder: Builder, value: Value) -> Stepped:
    """The value in its own steps if it is on a grid, else in steps of a power of two, with FIXED_BITS at its
    largest."""
    found = on_grid(builder, value)
    if found is not None:
        return found
    if limited(value.function) is not None:
        return on_fixed(builder, value, fixed_exponent(max(map(abs, interval_of(value)))))
    base = value.base
    if base.slope.size == base.offset.size == 1 and base.integers.high - base.integers.low < TABLE:
        return _looked_up(builder, value)
    x, step = _computed(builder, value.function, *to_integers(builder, Value(base)))
    return to_integers(builder, held(x, step))


def on_grid(builder: Builder, value: Value) -> Stepped | None:
    """The value as multiples of its own step; None where it has no single one, or a limit is between two multiples."""
    base, bounds = value.base, limited(value.function)
    if bounds is None or base.slope.size > 1 or not base.slope > 0 or np.any(base.offset != 0):
        return None
    x, step = base.integers, float(base.slope) * bounds.factor
    if x.reach >= 2**FIXED_BITS:
        return None
    low, high = _limits(x, step, bounds)
    if not (low.is_integer() and high.is_integer()):
        return None
    if (low, high) == (x.low, x.high):
        return x, step
    return builder.emit("clip", (x,), x.shape, int(low), int(high)), step


def _limits(x: Integers, step: float, bounds: Limited) -> tuple[float, float]:
    """Where the limits are among the multiples of the step."""
    low, high = (float(np.clip(bound / step, x.low, x.high)) for bound in bounds[:2])
    return low, high


def on_fixed(builder: Builder, value: Value, exponent: int) -> Stepped:
    """The value, of a function that limits, in steps of 2**-exponent, rounded to the nearest."""
    base, bounds, step = value.base, limited(value.function), 2.0**-exponent
    assert bounds is not None
    low, high = (end / step for end in interval_of(value))
    is_there = base.slope.size == 1 and float(base.slope) * bounds.factor == step and not np.any(base.offset)
    if is_there and low == base.integers.low and high == base.integers.high:
        return base.integers, step
    factor = bounds.factor / step
    found = builder.scaled(base.integers, base.slope * factor, base.offset * factor, math.floor(low), math.ceil(high))
    return found, step


def _looked_up(builder: Builder, value: Value) -> Stepped:
    x = value.base.integers
    numbers = evaluate(value.function, value.base.formula(np.arange(x.low, x.high + 1))).astype(np.float64)
    exponent = fixed_exponent(float(np.abs(numbers).max()))
    table = np.round(numbers * 2.0**exponent).astype(np.int32)
    found = builder.emit("lookup", (x,), x.shape, table.min(), table.max(), tensors={"table": table}, first=x.low)
    return found, 2.0**-exponent


def _computed(builder: Builder, function: Of, x: Integers, step: float) -> Stepped:
    """function(x) by additions, products and limits of integers."""
    if function is None:
        return x, step
    values = [item if isinstance(item, np.ndarray) else _computed(builder, item, x, step) for item in function.inputs]
    constants = [float(item) for item in values if isinstance(item, np.ndarray)]
    (first, own), *others = [item for item in values if not isinstance(item, np.ndarray)]
    name = function.name
    if others and name == "mul":
        second, other = others[0]
        return _multiplied(builder, first, second), own * other
    if name == "integer_pow" and function.params["y"] == 2:
        return _multiplied(builder, first, first), own * own
    if others or len(constants) != 1:
        raise _no_form(builder, function)
    (constant,) = constants
    whole = round(constant / own)
    if name == "add":
        found = builder.emit("offset", (first,), first.shape, first.low + whole, first.high + whole, constant=whole)
        return found, own
    if name in ("max", "min"):
        choose = max if name == "max" else min
        return builder.emit("clip", (first,), first.shape, choose(first.low, whole), choose(first.high, whole)), own
    if constant > 0 and (name == "mul" or (name == "div" and isinstance(function.inputs[1], np.ndarray))):
        return first, own * constant if name == "mul" else own / constant
    raise _no_form(builder, function)


def _multiplied(builder: Builder, x: Integers, y: Integers) -> Integers:
    ends = [a * b for a in (x.low, x.high) for b in (y.low, y.high)]
    return builder.emit("multiply", (x, y), x.shape, min(ends), max(ends))


def _no_form(builder: Builder, function: Function) -> Refusal:
    return Refusal(
        f"{function.name} in {builder.layer or 'the model'} has no form in integers where no quantizer follows it"
    )
