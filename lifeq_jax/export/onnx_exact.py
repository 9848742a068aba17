"""Writes a program as exact ONNX: onnxruntime computes the program's integers at every level of optimization.

Kernels of up to 4 bits are INT4 with a DequantizeLinear of unit scale, and their convolutions are in float, on integers
below 2**24, which is exact in any order of summation. Wider kernels use ConvInteger of uint8 by uint8, digit by digit
if a value or a weight needs more than 8 bits; int8 weights are avoided, because CPUs without VNNI saturate their
products with uint8. Everything between two layers is int64."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lifeq_jax.export.onnx_graph import BYTE, EXACT, Nodes, Tensor, channels_first, fits_byte, zeros_of
from lifeq_jax.export.program import IMAGE, Integers, Op, Program, Weight

NARROW = 4  # bits of an INT4


class Writer:
    """Program to ONNX; its methods are named after the kinds of ops."""

    def __init__(self, program: Program):
        self.program, self.nodes = program, Nodes()
        self.tensors: dict[str, Tensor] = {}
        self.image = self.nodes.add("Identity", IMAGE)
        self.tasks = 1

    def write(self) -> bytes:
        """The model's file."""
        for op in self.program.ops[:-1]:
            self.tensors[op.output.name] = self.tensor(op)
        last = self.program.ops[-1]
        logits = getattr(self, last.kind)(last)
        return self.nodes.model(self.program.image, self.tasks, logits, last.output.shape[0])

    def tensor(self, op: Op) -> Tensor:
        """One op's output."""
        return getattr(self, op.kind)(op)

    def inputs(self, op: Op) -> list[Tensor]:
        """The tensors that an op reads."""
        return [self.tensors[name] for name in op.inputs]

    def array(self, op: Op, use: str) -> np.ndarray:
        """One of an op's arrays."""
        return self.program.tensors[op.tensors[use]]

    # what a layer multiplies

    def pixels(self, op: Op) -> Tensor:
        """Gather from a flat table; its digits, which the first layer wants, from tables of their own."""
        add, table = self.nodes.add, self.array(op, "table")
        self.tasks, channels, _ = table.shape
        place = add("Add", self.nodes.cast(self.image, "INT64"), BYTE * np.arange(channels, dtype=np.int64))
        if self.tasks > 1:
            place = add("Add", place, add("Mul", "task", np.int64(BYTE * channels)))

        def looked_up(flat: np.ndarray) -> str:
            return add("Transpose", add("Gather", flat, place), perm=[0, 3, 1, 2])

        def digits() -> list[tuple[str, int]]:
            shifted = table.astype(np.int64).reshape(-1) + max(0, -op.output.low)
            parts = [(shifted // BYTE**i % BYTE).astype(np.uint8) for i in range(len(zeros_of(op.output)))]
            return [(looked_up(part), zero) for part, zero in zip(parts, zeros_of(op.output), strict=True)]

        found = Tensor(self.nodes, op.output, "i64", "")
        found.make_int = lambda: looked_up(table.astype(np.int64).reshape(-1))
        found.make_digits = digits
        return found

    def conv(self, op: Op) -> Tensor:
        """See the module."""
        strides, padding, groups = (op.arguments[name] for name in ("strides", "padding", "groups"))
        (top, bottom), (left, right) = padding
        how = dict(strides=strides, pads=[top, left, bottom, right], group=groups)
        return self._product(op, ("Conv", "ConvInteger"), (3, 2, 0, 1), how)

    def dense(self, op: Op) -> Tensor:
        """A matrix product of the same kinds."""
        return self._product(op, ("MatMul", "MatMulInteger"), (0, 1), {})

    def _product(self, op: Op, kinds: tuple[str, str], order: tuple[int, ...], how: dict[str, Any]) -> Tensor:
        (x,), weight = self.inputs(op), self.program.weights[op.tensors["weight"]]
        widest = int(np.abs(weight.integers).reshape(-1, weight.values.shape[-1]).sum(axis=0).max())
        if weight.stored <= NARROW and widest * (BYTE - 1) < EXACT:
            kernel = self._narrow_kernel(op, weight, order)
            if widest * x.integers.reach < EXACT:
                return Tensor(self.nodes, op.output, "f32", self.nodes.add(kinds[0], x.as_float(), kernel, **how))
            planes = [self.nodes.add("DequantizeLinear", *_byte(digit)) for digit in x.digits()]
            parts = [(BYTE**i, self.nodes.add(kinds[0], plane, kernel, **how)) for i, plane in enumerate(planes)]
            return Tensor(self.nodes, op.output, "i64", self._weighted(parts))
        kernels = self._byte_kernels(op, weight, order, how.get("group", 1))
        parts = [
            (BYTE**i * times, self.nodes.add(kinds[1], digit, kernel, np.uint8(zero), np.uint8(own), **how))
            for i, (digit, zero) in enumerate(x.digits())
            for times, kernel, own in kernels
        ]
        return Tensor(self.nodes, op.output, "i64", self._weighted(parts))

    def _weighted(self, parts: Iterable[tuple[int, str]]) -> str:
        """The sum of times * part, int64."""
        total = ""
        for times, part in parts:
            whole = self.nodes.cast(part, "INT64")
            whole = self.nodes.add("Mul", whole, np.int64(times)) if times != 1 else whole
            total = self.nodes.add("Add", total, whole) if total else whole
        return total

    def _narrow_kernel(self, op: Op, weight: Weight, order: tuple[int, ...]) -> str:
        """float32 integers of an INT4 initializer."""
        half = 2 ** (weight.stored - 1)
        name = self.nodes.int4(np.transpose(weight.values - half, order), op.tensors["weight"])
        kernel = self.nodes.add("DequantizeLinear", name, np.float32(weight.factor))
        rest = np.asarray(weight.factor * half + weight.offset)
        if not rest.any():
            return kernel
        rest = rest.reshape(-1, *[1] * (len(order) - 1)) if order[0] and rest.size > 1 else rest.reshape(-1)
        return self.nodes.add("Add", kernel, rest.astype(np.float32))

    def _byte_kernels(self, op: Op, weight: Weight, order: tuple[int, ...], groups: int) -> list[tuple[int, str, int]]:
        """uint8 initializers, how often each counts, and their zero points: together the integers of the kernel.

        Odd integers of 9 bits are 2 (code - zero) and 1 or -1 for every input: a kernel of ones beside the codes."""
        name, constant = op.tensors["weight"], self.nodes.constant
        integers, half = np.transpose(weight.integers, order), BYTE // 2
        if np.abs(integers).max() < half:
            return [(1, constant((integers + half).astype(np.uint8), name), half)]
        outputs = weight.values.shape[-1]
        if weight.factor == 2 and weight.stored == 8 and groups in (1, outputs):
            zero = -int(weight.offset) // 2
            codes = constant(np.transpose(weight.values, order).astype(np.uint8), name)
            ones = np.ones((*weight.values.shape[:-1], groups), np.uint8)
            rest = int(weight.offset) + 2 * zero
            return [(2, codes, zero), (rest, constant(np.transpose(ones, order)), 0)][: 2 if rest else 1]
        low, high = (integers & (BYTE - 1)).astype(np.uint8), ((integers >> 8) + half).astype(np.uint8)
        return [(1, constant(low, f"{name}/low"), 0), (BYTE, constant(high, f"{name}/high"), half)]

    # codes

    def requantize(self, op: Op) -> Tensor:
        """int64: truncation of what is below `low` is above it or the same, and is limited to it."""
        (x,), add, out = self.inputs(op), self.nodes.add, op.output
        multiplier, bias, shift = (self.array(op, use).astype(np.int64) for use in ("multiplier", "bias", "shift"))
        value = self._shifted(x, op.arguments["pre"])
        multiplier, bias, shift = (channels_first(item, out.shape) for item in (multiplier, bias, shift))
        value = add("Add", add("Mul", value, multiplier), bias - (np.int64(out.low) << shift))
        value = add("Clip", add("Div", value, np.int64(1) << shift), np.int64(0), np.int64(out.high - out.low))
        return self._from_low(out, value)

    def _shifted(self, x: Tensor, pre: int) -> str:
        """floor(x / 2**pre)"""
        if not pre:
            return x.as_int()
        above = (x.integers.reach >> pre) + 1
        positive = self.nodes.add("Add", x.as_int(), np.int64(above << pre))
        return self.nodes.add("Sub", self.nodes.add("Div", positive, np.int64(1 << pre)), np.int64(above))

    def _from_low(self, out: Integers, value: str) -> Tensor:
        """A tensor of an int64 `value` that counts from the low end of its range."""
        base = out.low - min(out.low, 0) if fits_byte(out) else out.low
        value = self.nodes.add("Add", value, np.int64(base)) if base else value
        if fits_byte(out):
            return Tensor(self.nodes, out, "u8", self.nodes.cast(value, "UINT8"))
        return Tensor(self.nodes, out, "i64", value)

    def steps(self, op: Op) -> Tensor:
        """A binary search among the edges, all elements at once."""
        (x,), add = self.inputs(op), self.nodes.add
        edges, codes = self.array(op, "edges").astype(np.int64), self.array(op, "codes").astype(np.int64)
        rounds = len(edges).bit_length()
        padded = np.full(2**rounds - 1, np.iinfo(np.int64).max)
        padded[: len(edges)] = edges
        place = ""
        for size in (2**i for i in reversed(range(rounds))):
            middle = add("Gather", padded, add("Add", place, np.int64(size - 1))) if place else padded[size - 1]
            above = add("Mul", self.nodes.cast(add("GreaterOrEqual", x.as_int(), middle), "INT64"), np.int64(size))
            place = add("Add", place, above) if place else above
        return self._from_low(op.output, add("Gather", codes - op.output.low, place))

    def lookup(self, op: Op) -> Tensor:
        """Gather"""
        (x,) = self.inputs(op)
        place = self.nodes.add("Sub", x.as_int(), np.int64(op.arguments["first"]))
        found = self.nodes.add("Gather", self.array(op, "table").astype(np.int64), place)
        return Tensor(self.nodes, op.output, "i64", found)

    # arithmetic

    def _exact(self, op: Op, kind: str, *more: Callable[[str], Any], **how: Any) -> Tensor:
        """A node on float32 where all its integers are exact there, else on int64; `more`: further inputs by form."""
        inputs = self.inputs(op)
        form = "f32" if max(item.reach for item in (op.output, *(x.integers for x in inputs))) < EXACT else "i64"
        names = [x.as_float() if form == "f32" else x.as_int() for x in inputs]
        return Tensor(self.nodes, op.output, form, self.nodes.add(kind, *names, *(item(form) for item in more), **how))

    def add(self, op: Op) -> Tensor:
        """Add"""
        return self._exact(op, "Add")

    def multiply(self, op: Op) -> Tensor:
        """Mul"""
        return self._exact(op, "Mul")

    def offset(self, op: Op) -> Tensor:
        """Add"""
        return self._exact(op, "Add", _number(op.arguments["constant"]))

    def clip(self, op: Op) -> Tensor:
        """Clip"""
        return self._exact(op, "Clip", _number(op.output.low), _number(op.output.high))

    def sum(self, op: Op) -> Tensor:
        """ReduceSum"""
        return self._exact(op, "ReduceSum", lambda form: np.array([2, 3], np.int64), keepdims=0)

    def max_pool(self, op: Op) -> Tensor:
        """MaxPool, which pads with nothing; of float64 where float32 is too short."""
        (x,), arguments = self.inputs(op), op.arguments
        (top, bottom), (left, right) = arguments["padding"]
        how = dict(kernel_shape=arguments["window"], strides=arguments["strides"], pads=[top, left, bottom, right])
        if x.integers.reach < EXACT:
            return Tensor(self.nodes, op.output, "f32", self.nodes.add("MaxPool", x.as_float(), **how))
        found = self.nodes.add("MaxPool", self.nodes.cast(x.as_int(), "DOUBLE"), **how)
        return Tensor(self.nodes, op.output, "i64", self.nodes.cast(found, "INT64"))

    # moves

    def reshape(self, op: Op) -> Tensor:
        """In the order (H, W, C), as the program has it."""
        (x,), add = self.inputs(op), self.nodes.add
        form, name = ("u8", x.as_byte()) if x.fits_byte else ("i64", x.as_int())
        before, after = x.integers.shape, op.output.shape
        if len(before) == 3 and before[:2] != (1, 1):
            name = add("Transpose", name, perm=[0, 2, 3, 1])
        if len(after) == 1 or after[:2] == (1, 1):
            target = (after[-1], *[1] * (len(after) - 1))
            return Tensor(self.nodes, op.output, form, add("Reshape", name, np.array([-1, *target], np.int64)))
        name = add("Reshape", name, np.array([-1, *after], np.int64))
        return Tensor(self.nodes, op.output, form, add("Transpose", name, perm=[0, 3, 1, 2]))

    def slice(self, op: Op) -> Tensor:
        """Slice"""
        (x,), rank = self.inputs(op), len(op.output.shape)
        axes = np.array([2, 3, 1] if rank == 3 else [1], np.int64)
        start, limit, strides = (np.array(op.arguments[name], np.int64) for name in ("start", "limit", "strides"))
        form, name = ("u8", x.as_byte()) if x.fits_byte else ("i64", x.as_int())
        return Tensor(self.nodes, op.output, form, self.nodes.add("Slice", name, start, limit, axes, strides))

    # logits

    def dequantize(self, op: Op) -> str:
        """float32"""
        (x,), add = self.inputs(op), self.nodes.add
        return add("Add", add("Mul", self._single(x), self.array(op, "step")), self.array(op, "bias"))

    def dense_float(self, op: Op) -> str:
        """Gemm"""
        (x,) = self.inputs(op)
        feature = self.nodes.add("Mul", self._single(x), np.float32(op.arguments["step"]))
        return self.nodes.add("Gemm", feature, self.array(op, "kernel"), self.array(op, "bias"))

    def _single(self, x: Tensor) -> str:
        return x.as_float() if x.integers.reach < EXACT else self.nodes.cast(x.as_int(), "FLOAT")


def _byte(digit: tuple[str, int]) -> tuple[str, np.float32, np.uint8]:
    return digit[0], np.float32(1), np.uint8(digit[1])


def _number(value: int) -> Callable[[str], Any]:
    return lambda form: np.float32(value) if form == "f32" else np.int64(value)
