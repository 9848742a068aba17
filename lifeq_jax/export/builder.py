"""Builds a program: ops with names, ranges and tensors, and real values that are not integers yet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.export.function import Of
from lifeq_jax.export.program import Integers, Op, Program, Weight
from lifeq_jax.export.requantize import Line, normalized

FIXED_BITS = 30  # of a real value that is on no quantizer's grid: its largest magnitude is below 2**30 steps


@dataclass(frozen=True, eq=False)
class Base:
    """slope * integers + offset, as the trained network computes it in float32."""

    integers: Integers
    slope: np.ndarray  # float64, () or (C,)
    offset: np.ndarray  # likewise
    formula: Callable[[np.ndarray], np.ndarray]  # integers (.., C), float64 or int64, -> float32
    low: np.ndarray  # of the integers, int64, () or per channel
    high: np.ndarray
    limits: tuple[float, float] = (-np.inf, np.inf)  # values beyond need not be distinguished

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the largest real value."""
        ends = np.stack(np.broadcast_arrays(self.slope * self.low + self.offset, self.slope * self.high + self.offset))
        return float(np.clip(ends.min(), *self.limits)), float(np.clip(ends.max(), *self.limits))


class Value(NamedTuple):
    """function(base): two values of one base can still be combined element by element."""

    base: Base
    function: Of = None


def held(integers: Integers, step: float) -> Value:
    """integers * step."""
    single, ends = np.float32(step), (np.asarray(integers.low), np.asarray(integers.high))
    return Value(Base(integers, np.asarray(float(step)), np.zeros(()), lambda x: x.astype(np.float32) * single, *ends))


class Builder:
    """Collects the ops, tensors and weights of a program."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.weights: dict[str, Weight] = {}
        self.layer = ""  # that ops now come from

    def emit(
        self,
        kind: str,
        inputs: tuple[Integers, ...],
        shape: tuple[int, ...],
        low: int,
        high: int,
        *,
        tensors: dict[str, np.ndarray] | None = None,
        weight: str | None = None,
        **arguments: Any,
    ) -> Integers:
        """Adds an op and returns its output; `tensors` are stored under the names of the layer and of their use."""
        output = Integers(f"v{len(self.ops)}", shape, int(low), int(high))
        names = {use: self._store(use, tensor) for use, tensor in (tensors or {}).items()}
        if weight is not None:
            names["weight"] = weight
        self.ops.append(Op(kind, tuple(item.name for item in inputs), output, arguments, names, self.layer))
        return output

    def _store(self, use: str, tensor: np.ndarray) -> str:
        name, number = f"{self.layer}/{use}", 1
        while name in self.tensors:
            number += 1
            name = f"{self.layer}/{use}_{number}"
        self.tensors[name] = tensor
        return name

    def requantize(self, x: Integers, line: Line, low: int, high: int, pre: int = 0) -> Integers:
        """The op `requantize` of a line, limited to low .. high."""
        tensors = {"multiplier": line.multiplier, "bias": line.bias, "shift": line.shift}
        return self.emit("requantize", (x,), x.shape, low, high, tensors=tensors, pre=pre)

    def scaled(self, x: Integers, slope: np.ndarray, offset: np.ndarray, low: int, high: int) -> Integers:
        """round(slope * x + offset) limited to low .. high, slope and offset float64 () or (C,)."""
        pre = narrowing(x.reach)
        slope, offset = np.broadcast_arrays(np.atleast_1d(slope), np.atleast_1d(offset))
        size = np.clip(np.abs(slope) * 2.0**pre, 2.0**-60, 2.0**FIXED_BITS)  # larger where x can only be 0
        largest = np.maximum(np.abs(offset), max(abs(low), abs(high), 1))
        multiplier, shift = normalized(size, largest.astype(np.int64))
        middle = offset + (slope * (2.0**pre - 1) / 2 if pre else 0) + 0.5  # of the x that `pre` makes one
        bias = np.round(middle * 2.0**shift).astype(np.int64)
        line = Line((multiplier * np.sign(slope)).astype(np.int32), bias, shift.astype(np.uint8))
        return self.requantize(x, line, low, high, pre)

    def program(self) -> Program:
        """The program of all collected ops."""
        return Program(tuple(self.ops), self.tensors, self.weights)


def narrowing(reach: int) -> int:
    """Bits to drop from an integer of this magnitude, so that its product with 31 bits fits a sum of 63 bits."""
    return max(0, reach.bit_length() - FIXED_BITS)
