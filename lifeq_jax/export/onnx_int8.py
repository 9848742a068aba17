"""Writes a program as fast ONNX: onnxruntime fuses its convolutions to QLinearConv. Close to the program, not equal.

A QLinearConv adds an int32 to the accumulator and multiplies by one float, so thresholds lie at whole accumulators.
Kernels are scaled up into the free bits of int8, which makes accumulators finer, and factor, bias and multiplier of
every channel are searched together; the remaining misplaced thresholds are counted."""

from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.export.onnx_graph import BYTE, EXACT, Tensor, fits_byte
from lifeq_jax.export.program import Op, Program, sums, users

LARGEST = BYTE // 2 - 1  # of an int8 weight, either sign
TRIED = np.array(sorted(range(-200, 201), key=abs))  # what is added to the nominal bias
WIDEST = 16  # times the nominal scale
PASS = 2**22  # numbers of a search that are in memory at once


class Fused(NamedTuple):
    """What a QLinearConv computes in every channel: round((room * t + bias) * scale), t = sign * accumulator."""

    room: np.ndarray  # (C,) by which the kernel is multiplied; 0 where all accumulators give one code
    bias: np.ndarray  # (C,)
    scale: np.ndarray  # (C,) float32
    misplaced: np.ndarray  # (C,) thresholds


class FastWriter(Writer):
    """As Writer, but for convolutions and linear layers whose codes a QLinearConv, or QGemm, can give."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.users = users(program)
        self.makers = {op.output.name: op for op in program.ops}
        self.fused = self.thresholds = self.misplaced = 0

    def write(self) -> bytes:
        """The model's file. Refuses a program of which no layer fits into 8 bits."""
        content = super().write()
        if not self.fused:
            products = [op for op in self.program.ops if op.kind in ("conv", "dense")]
            raise Refusal(
                f"model.int8.onnx holds 8-bit weights and activations, and none of the {len(products)} layers has "
                "both; choose --formats packed,onnx,c"
            )
        return content

    def tensor(self, op: Op) -> Tensor:
        """One op's output; nothing yet for a layer that the next op takes in."""
        if op.kind in ("conv", "dense") and self._fuses(op):
            return Tensor(self.nodes, op.output, "i64", "")
        if op.kind == "requantize" and op.inputs[0] in self.makers and self._fuses(self.makers[op.inputs[0]]):
            return self._fused(self.makers[op.inputs[0]], op)
        return super().tensor(op)

    def _fuses(self, op: Op) -> bool:
        if op.kind not in ("conv", "dense"):
            return False
        after, weight = self.users.get(op.output.name, []), self.program.weights[op.tensors["weight"]]
        alone = len(after) == 1 and after[0].kind == "requantize" and not after[0].arguments["pre"]
        fits = fits_byte(self.tensors[op.inputs[0]].integers) and np.abs(weight.integers).max() <= LARGEST
        return alone and fits and fits_byte(after[0].output)

    def _fused(self, op: Op, codes: Op) -> Tensor:
        x, weight = self.tensors[op.inputs[0]], self.program.weights[op.tensors["weight"]]
        span = max(x.integers.high, 0) + x.zero
        sign, found = np.where(self.array(codes, "multiplier") < 0, -1, 1), search(self, codes)
        self.fused += 1
        self.misplaced += int(found.misplaced.sum())
        kernel = self._kernel(op, weight.integers * sign * found.room, span, found.scale)
        zeros = np.zeros(len(found.bias), np.int32)
        bias = self.nodes.add("DequantizeLinear", found.bias.astype(np.int32), found.scale, zeros, axis=0)
        value = self.nodes.add("DequantizeLinear", x.as_byte(), np.float32(1), np.uint8(x.zero))
        value = self.nodes.add("Gemm" if op.kind == "dense" else "Conv", value, kernel, bias, **self._how(op))
        zero = max(0, -codes.output.low)
        value = self.nodes.add("QuantizeLinear", value, np.float32(1), np.uint8(zero))
        if codes.output.high + zero < BYTE - 1:
            value = self.nodes.add("Min", value, np.uint8(codes.output.high + zero))
        if codes.output.low + zero > 0:
            value = self.nodes.add("Max", value, np.uint8(codes.output.low + zero))
        return Tensor(self.nodes, codes.output, "u8", value)

    def _kernel(self, op: Op, integers: np.ndarray, span: int, scale: np.ndarray) -> str:
        """int8, or uint8 where activations are so large that kernels for int8 would saturate."""
        order, axis = ((0, 1), 1) if op.kind == "dense" else ((3, 2, 0, 1), 0)
        kind, zero = (np.int8, 0) if span <= LARGEST else (np.uint8, BYTE // 2)
        stored = self.nodes.constant(np.transpose(integers + zero, order).astype(kind), op.tensors["weight"])
        return self.nodes.add("DequantizeLinear", stored, scale, np.full(len(scale), zero, kind), axis=axis)

    def _how(self, op: Op) -> dict[str, Any]:
        if op.kind == "dense":
            return {}
        (top, bottom), (left, right) = op.arguments["padding"]
        strides, groups = op.arguments["strides"], op.arguments["groups"]
        return dict(strides=strides, pads=[top, left, bottom, right], group=groups)


def search(writer: FastWriter, codes: Op) -> Fused:
    """The steps of the line of the op `requantize`, or nearly.

    The largest room first; where thresholds are misplaced with it, smaller ones, which divide the line differently."""
    weight = writer.program.weights[writer.makers[codes.inputs[0]].tensors["weight"]]
    goal, start, slope = _asked(writer, codes)
    level, channels, passed = goal.level, len(goal.low), goal.reached & goal.missed
    always = np.where(goal.missed, codes.output.low, level).max(axis=0, initial=codes.output.low)
    misplaced = np.where(passed.any(axis=0), len(level) + 1, 0)  # more than there are, until something is tried
    found = Fused(np.zeros(channels, np.int64), always, np.ones(channels, np.float32), misplaced)
    largest = LARGEST // np.maximum(np.abs(weight.integers).reshape(-1, channels).max(axis=0), 1)
    largest = np.clip((EXACT - 1) // np.maximum(np.maximum(-goal.low, goal.high), 1), 1, largest)
    step = max(1, PASS // (max(len(level), 1) * len(TRIED)))
    for less in range(int(largest.max())):
        left = np.flatnonzero((found.misplaced > 0) & (largest > less))
        for part in (left[first : first + step] for first in range(0, len(left), step)):
            tried = _best(goal.of(part), largest[part] - less, start[part], slope[part])
            better = tried.misplaced < found.misplaced[part]
            for kept, new in zip(found, tried, strict=True):
                kept[part[better]] = new[better]
    writer.thresholds += int(passed.sum())
    return found


def _asked(writer: FastWriter, codes: Op) -> tuple["_Goal", np.ndarray, np.ndarray]:
    """What a line gives, and its start and slope: round(start + slope * t), t = sign * accumulator."""
    product = writer.makers[codes.inputs[0]]
    lines = (writer.array(codes, use).astype(np.int64) for use in ("multiplier", "bias", "shift"))
    multiplier, bias, shift = (np.broadcast_to(item, (product.output.shape[-1],)) for item in lines)
    x, weight = writer.tensors[product.inputs[0]].integers, writer.program.weights[product.tensors["weight"]]
    ends = np.stack(sums(weight, min(x.low, 0), max(x.high, 0)))
    low, high = np.sort(ends * np.where(multiplier < 0, -1, 1), axis=0)
    level = np.arange(codes.output.low + 1, codes.output.high + 1, dtype=np.int64)[:, None]
    above, size = bias - (level << shift), np.abs(multiplier)
    place = np.where(size == 0, np.where(above < 0, high + 1, low), -(above // np.maximum(size, 1)))
    goal = _Goal(level, np.clip(place, low, high + 1), low, high)
    return goal, bias / 2.0**shift - 0.5, size / 2.0**shift


class _Goal(NamedTuple):
    """What t = sign * accumulator, from low to high, must give: level[j] from place[j] on, and not below."""

    level: np.ndarray  # (J, 1)
    place: np.ndarray  # (J, C) from low, always, to high + 1, never
    low: np.ndarray  # (C,)
    high: np.ndarray

    @property
    def reached(self) -> np.ndarray:
        """(J, C): whether a t gives the level."""
        return self.place <= self.high

    @property
    def missed(self) -> np.ndarray:
        """(J, C): whether a t does not."""
        return self.place > self.low

    def of(self, part: np.ndarray) -> "_Goal":
        """That of some channels."""
        return _Goal(self.level, self.place[:, part], self.low[part], self.high[part])


def _best(goal: _Goal, room: np.ndarray, start: np.ndarray, slope: np.ndarray) -> Fused:
    """Of some channels: the bias that leaves the scale most room, near the line start + slope * t, and its middle."""
    nominal, slope = np.clip(np.round(start / slope * room), -(2**30), 2**30), slope / room
    bias = nominal + TRIED[:, None]  # (tried, C)
    edge = (goal.level - 0.5)[:, None]
    above, below = room * goal.place[:, None] + bias, room * (goal.place[:, None] - 1) + bias
    least, most = _limits(edge, above, goal.reached[:, None])
    least_below, most_below = _limits(-edge, -below, goal.missed[:, None])
    low = np.maximum(least, least_below)
    high = np.minimum(np.minimum(most, most_below), WIDEST * slope)
    chosen, columns = (high - low).argmax(axis=0), np.arange(len(nominal))
    low, high, bias = low[chosen, columns], high[chosen, columns], bias[chosen, columns]
    middle = np.where(np.isfinite(low) & np.isfinite(high), low / 2 + high / 2, slope)
    scale = np.where(middle > 0, middle, slope).astype(np.float32)
    # as onnxruntime computes it, in float32
    above, below = ((room * side + bias).astype(np.float32) * scale for side in (goal.place, goal.place - 1))
    wrong = goal.reached & (np.rint(above) < goal.level) | goal.missed & (np.rint(below) >= goal.level)
    return Fused(room, bias, scale, wrong.sum(axis=0))


def _limits(edge: np.ndarray, value: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between which scales value * scale >= edge for all levels that are asked for; inf and -inf if for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = edge / value
    never = asked & (value == 0) & (edge > 0)
    low = np.where(never, np.inf, np.where(asked & (value > 0), ratio, 0)).max(axis=0)
    high = np.where(never, -np.inf, np.where(asked & (value < 0), ratio, np.inf)).min(axis=0)
    return low, high
