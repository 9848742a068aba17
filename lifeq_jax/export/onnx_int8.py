"""Writes a program as fast ONNX: onnxruntime fuses its convolutions to QLinearConv. Close to the program, not equal.

A QLinearConv adds an int32 to the accumulator and multiplies by one float, so thresholds lie at whole accumulators.
Kernels are scaled up into the free bits of int8, which makes accumulators finer, and bias and multiplier of every
channel are searched together; the remaining misplaced thresholds are counted."""

from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.export.onnx_graph import BYTE, Tensor, fits_byte
from lifeq_jax.export.program import Op, Program, users

LARGEST = BYTE // 2 - 1  # of an int8 weight, either sign
TRIED = 200  # integers on each side of the nominal bias
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
    multiplier, bias, shift = (writer.array(codes, use).astype(np.int64) for use in ("multiplier", "bias", "shift"))
    made = writer.makers[codes.inputs[0]].output
    channels = made.shape[-1]
    multiplier, bias, shift = (np.broadcast_to(item, (channels,)) for item in (multiplier, bias, shift))
    level = np.arange(codes.output.low + 1, codes.output.high + 1, dtype=np.int64)[:, None]
    size = np.maximum(np.abs(multiplier), 1)
    place = -((bias - (level << shift)) // size)  # smallest t = sign * accumulator of each level
    slope = np.where(multiplier == 0, 1.0, np.abs(multiplier) / 2.0**shift)
    start = np.clip(np.round((bias / 2.0**shift - 0.5) / slope) * 1.0, -(2**30) / room, 2**30 / room)
    passed = (np.abs(place) <= max(abs(made.low), abs(made.high))) & (multiplier != 0)
    found_bias, found_scale, misplaced = np.zeros(channels, np.int32), np.ones(channels, np.float32), 0
    step = max(1, PASS // (max(len(level), 1) * (2 * TRIED + 1)))
    for first in range(0, channels, step):
        part = slice(first, first + step)
        nominal = np.round(start[part] * room)
        b, s, wrong = _best(place[:, part], level, passed[:, part], room, nominal, slope[part] / room)
        found_bias[part], found_scale[part], misplaced = b, s, misplaced + wrong
    flat = multiplier == 0  # one code whatever comes in
    found_bias = np.where(flat, np.clip(bias >> shift, codes.output.low, codes.output.high), found_bias)
    found_scale = np.where(flat, 1, found_scale)
    writer.thresholds += int(passed.sum())
    return Fused(found_bias.astype(np.int32), found_scale.astype(np.float32), misplaced)


def _best(
    place: np.ndarray, level: np.ndarray, passed: np.ndarray, room: int, nominal: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """(bias, scale, misplaced) of some channels: the bias that leaves the scale most room."""
    bias = nominal + np.arange(-TRIED, TRIED + 1)[:, None]  # (tried, C)
    edge = level - 0.5
    above = room * place[:, None] + bias
    below = room * (place[:, None] - 1) + bias
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.maximum(
            _limit(edge[:, None], above, passed[:, None], 1), _limit(-edge[:, None], -below, passed[:, None], 1)
        )
        high = np.minimum(
            _limit(edge[:, None], above, passed[:, None], -1), _limit(-edge[:, None], -below, passed[:, None], -1)
        )
    found = np.isfinite(low) & np.isfinite(high)
    width = np.where(found, np.where(found, high, 0) - np.where(found, low, 0), -np.inf)
    chosen, columns = width.argmax(axis=0), np.arange(len(nominal))
    low, high = low[chosen, columns], high[chosen, columns]
    between = np.where(found[chosen, columns], low, slope) / 2 + np.where(found[chosen, columns], high, slope) / 2
    scale = np.where(between > 0, between, slope).astype(np.float32)
    bias = bias[chosen, columns]
    wrong = np.rint((room * place + bias) * scale.astype(np.float64)) < level
    wrong |= np.rint((room * (place - 1) + bias) * scale.astype(np.float64)) >= level
    return bias, scale, int((wrong & passed).sum())


def _limit(edge: np.ndarray, value: np.ndarray, passed: np.ndarray, side: int) -> np.ndarray:
    """The scales with value * scale >= edge for all levels: the largest lower (side 1) or smallest upper (-1) limit."""
    ratio = np.where(passed & (side * value > 0), edge / value, -side * np.inf)
    return ratio.max(axis=0) if side > 0 else ratio.min(axis=0)
