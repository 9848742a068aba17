"""The integer program that a trained network becomes: what every target (NumPy, ONNX, C) is made of.

An integer stands for a real number, integer * step, but a program knows no steps: it has integers from the pixels on,
and floats only where it writes logits. So it gives the same integers wherever it runs, for every image. NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

IMAGE, LOGITS = "image", "logits"


class Integers(NamedTuple):
    """A tensor of integers in a program."""

    name: str
    shape: tuple[int, ...]  # of one image: (H, W, C) or (F,)
    low: int  # no value is smaller
    high: int  # no value is larger

    @property
    def reach(self) -> int:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


class Weight(NamedTuple):
    """A quantized kernel, HWIO or (in, out): integers = factor * values + offset.

    The codes of a quantizer are values + lowest; integer * step is the weight. Where the quantizer's zero point is a
    half, factor is 2, so that all integers are odd."""

    values: np.ndarray  # int64, from 0 up to below 2**stored
    bits: int  # of the quantizer
    stored: int  # bits that the values need: more than `bits` where a quantizer does not clamp
    factor: int
    offset: np.ndarray  # int64, () or per output channel, as zero and scale
    lowest: int
    zero: tuple[float, ...]  # of the codes
    scale: tuple[float, ...]

    @property
    def integers(self) -> np.ndarray:
        """What the program multiplies by, int64."""
        return self.factor * self.values + self.offset


@dataclass(frozen=True)
class Op:
    """One step of a program: a row of KINDS."""

    kind: str
    inputs: tuple[str, ...]
    output: Integers
    arguments: Mapping[str, Any] = field(default_factory=dict)  # numbers, and lists of them
    tensors: Mapping[str, str] = field(default_factory=dict)  # what for -> name
    layer: str = ""  # the layer of the model that it comes from


class Program(NamedTuple):
    """Ops in an order in which they can run, and their arrays by name. The last one writes LOGITS."""

    ops: tuple[Op, ...]
    tensors: dict[str, np.ndarray]
    weights: dict[str, Weight]

    @property
    def image(self) -> Integers:
        """The pixels that it reads, uint8 (H, W, C)."""
        return Integers(IMAGE, self.ops[0].output.shape, 0, 255)


KINDS: dict[str, str] = {
    "pixels": "table (T, C, 256) at (task, channel, pixel)",
    "conv": "sums of products with `weight`; strides, padding ((top, bottom), (left, right)) of zeros, groups",
    "dense": "sums of products with `weight`",
    "requantize": "clip(floor((floor(x / 2**pre) * multiplier + bias) / 2**shift), low, high), each one or per channel",
    "steps": "codes (J + 1,) at the number of `edges` (J,), ascending, that are not above x",
    "lookup": "table at x - first",
    "add": "x + y",
    "offset": "x + constant",
    "multiply": "x * y, y of the shape of x or 1x1 pixels",
    "clip": "x limited to low .. high of the output",
    "sum": "over all pixels; (H, W, C) -> (C,)",
    "max_pool": "largest of a window; window, strides, padding ((top, bottom), (left, right))",
    "reshape": "the same values in the order of (H, W, C)",
    "slice": "start, limit, strides of each axis",
    "dequantize": "logits: float32(x) * step + bias, each one or per output",
    "dense_float": "logits: (float32(x) * step) times `kernel` (F, K) + bias, in float32",
}


def users(program: Program) -> dict[str, list[Op]]:
    """The ops that read each value."""
    found: dict[str, list[Op]] = {}
    for op in program.ops:
        for name in op.inputs:
            found.setdefault(name, []).append(op)
    return found


def sums(weight: Weight, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest sum of every output channel, int64 (C,), of inputs from low to high."""
    flat = weight.integers.reshape(-1, weight.values.shape[-1])
    positive, negative = np.maximum(flat, 0).sum(axis=0), np.minimum(flat, 0).sum(axis=0)
    return positive * low + negative * high, positive * high + negative * low
