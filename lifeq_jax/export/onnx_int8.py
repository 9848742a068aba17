"""Writes a program as fast ONNX: onnxruntime fuses its convolutions to QLinearConv. Close to the program, not equal.

A QLinearConv adds an int32 to the accumulator and multiplies by one float, so thresholds lie at whole accumulators.
Kernels are scaled up into the free bits of int8, which makes accumulators finer, and bias and multiplier of every
channel are searched together; the remaining misplaced thresholds are counted."""

from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.export.onnx_graph import BYTE, Tensor, fits_byte
from lifeq_jax.export.program import Op, Program, sums, users

LARGEST = BYTE // 2 - 1  # of an int8 weight, either sign
TRIED = np.array(sorted(range(-200, 201), key=abs))  # what is added to the nominal bias
WIDEST = 16  # times the nominal scale
PASS = 2**22  # numbers of a search that are in memory at once


class Fused(NamedTuple):
    """What a QLinearConv computes: round((t + bias) * scale), t the scaled accumulator of the turned kernel."""

    bias: np.ndarray  # (C,) int32
    scale: np.ndarray  # (C,) float32
    misplaced: int


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
        room = LARGEST // int(np.abs(weight.integers).max()) if span <= LARGEST else 1
        sign = np.sign(self.array(codes, "multiplier"))  # 0: the channel has one code whatever comes in
        found = search(self, codes, room)
        self.fused += 1
        self.misplaced += found.misplaced
        kernel = self._kernel(op, weight.integers * sign * room, span, found.scale)
        bias = self.nodes.add("DequantizeLinear", found.bias, found.scale, np.zeros(len(found.bias), np.int32), axis=0)
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


def search(writer: FastWriter, codes: Op, room: int) -> Fused:
    """Bias and scale of every channel, for accumulators times `room`, from the line of the op `requantize`."""
    product = writer.makers[codes.inputs[0]]
    channels = product.output.shape[-1]
    multiplier, bias, shift = (
        np.broadcast_to(writer.array(codes, use).astype(np.int64), (channels,))
        for use in ("multiplier", "bias", "shift")
    )
    flat = multiplier == 0  # one code whatever comes in
    x = writer.tensors[product.inputs[0]].integers
    ends = sums(writer.program.weights[product.tensors["weight"]], min(x.low, 0), max(x.high, 0))
    low, high = np.sort(np.stack(ends) * np.where(multiplier < 0, -1, 1), axis=0)  # of t = sign * accumulator
    level = np.arange(codes.output.low + 1, codes.output.high + 1, dtype=np.int64)[:, None]
    place = -((bias - (level << shift)) // np.maximum(np.abs(multiplier), 1))  # smallest t of each level
    goal = _Goal(level, np.clip(place, low, high + 1), low, high)
    slope = np.where(flat, 1.0, np.abs(multiplier) / 2.0**shift)
    start = np.clip(np.round((bias / 2.0**shift - 0.5) / slope * room), -(2**30), 2**30)
    found_bias, found_scale, misplaced = np.zeros(channels, np.int32), np.ones(channels, np.float32), 0
    step = max(1, PASS // (max(len(level), 1) * len(TRIED)))
    for first in range(0, channels, step):
        part = np.arange(first, min(first + step, channels))[~flat[first : first + step]]
        if len(part) and len(level):
            found = _best(goal.of(part), room, start[part], slope[part] / room)
            found_bias[part], found_scale[part], misplaced = found.bias, found.scale, misplaced + found.misplaced
    found_bias[flat] = np.clip(bias >> shift, codes.output.low, codes.output.high)[flat]
    writer.thresholds += int((goal.reached & goal.missed)[:, ~flat].sum())
    return Fused(found_bias, found_scale, misplaced)


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


def _best(goal: _Goal, room: int, nominal: np.ndarray, slope: np.ndarray) -> Fused:
    """Of some channels: the bias that leaves the scale most room, and the middle of that room."""
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
    above, below = ((room * side + bias) * scale.astype(np.float64) for side in (goal.place, goal.place - 1))
    wrong = goal.reached & (np.rint(above) < goal.level) | goal.missed & (np.rint(below) >= goal.level)
    return Fused(bias.astype(np.int32), scale, int(wrong.sum()))


def _limits(edge: np.ndarray, value: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between which scales value * scale >= edge for all levels that are asked for; inf and -inf if for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = edge / value
    never = asked & (value == 0) & (edge > 0)
    low = np.where(never, np.inf, np.where(asked & (value > 0), ratio, 0)).max(axis=0)
    high = np.where(never, -np.inf, np.where(asked & (value < 0), ratio, np.inf)).min(axis=0)
    return low, high
