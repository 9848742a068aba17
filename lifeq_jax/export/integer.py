"""Runs programs with NumPy: the reference of all other targets, which needs no other runtime."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lifeq_jax.export.program import IMAGE, Op, Program
from lifeq_jax.export.requantize import Line

Run = Callable[..., np.ndarray]  # (op, program, *inputs) -> output, int64 with the batch as first axis


def run(
    program: Program, image: np.ndarray, task: int = 0, seen: Callable[[str, np.ndarray], Any] | None = None
) -> np.ndarray:
    """Logits (B, K) float32 of uint8 images (B, H, W, C); task: whose pixel table, where tasks have their own.

    seen(name, integers) is called with every value of the program."""
    left = {op.output.name: sum(op.output.name in other.inputs for other in program.ops) for op in program.ops}
    values: dict[str, np.ndarray] = {IMAGE: image}
    for op in program.ops:
        inputs = [values[name] for name in op.inputs]
        found = RUN[op.kind](op, program, *inputs) if op.kind != "pixels" else _pixels(op, program, image, task)
        values[op.output.name] = found
        if seen is not None:
            seen(op.output.name, found)
        for name in op.inputs:
            left[name] = left.get(name, 1) - 1
            if not left[name]:
                del values[name]
    return found


def _pixels(op: Op, program: Program, image: np.ndarray, task: int) -> np.ndarray:
    tables = program.tensors[op.tensors["table"]]
    table = tables[task if len(tables) > 1 else 0]  # tasks with heads of their own may see the same numbers
    return np.stack([table[channel][image[..., channel]] for channel in range(len(table))], axis=-1).astype(np.int64)


def _windows(x: np.ndarray, window: Sequence[int], strides: Sequence[int], padding: Any, fill: int) -> np.ndarray:
    """(B, H', W', C, h, w) of x (B, H, W, C)."""
    x = np.pad(x, ((0, 0), *map(tuple, padding), (0, 0)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(x, tuple(window), axis=(1, 2))
    return views[:, :: strides[0], :: strides[1]]


def _conv(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    kernel = program.weights[op.tensors["weight"]].integers.astype(np.float64)
    height, width, inner, outer = kernel.shape
    arguments, groups = op.arguments, op.arguments["groups"]
    # sums of integers below 2**53 are exact in float64, in any order, and fast
    views = _windows(x.astype(np.float64), (height, width), arguments["strides"], arguments["padding"], 0)
    if groups == 1:
        return np.rint(np.tensordot(views, kernel, axes=([4, 5, 3], [0, 1, 2]))).astype(np.int64)
    grouped = views.reshape(*views.shape[:3], groups, inner, height, width)
    kernel = kernel.reshape(height, width, inner, groups, outer // groups)
    found = np.einsum("bhwgcij,ijcgo->bhwgo", grouped, kernel, optimize=True)
    return np.rint(found).astype(np.int64).reshape(*views.shape[:3], outer)


def _dense(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    kernel = program.weights[op.tensors["weight"]].integers.astype(np.float64)
    return np.rint(x.astype(np.float64) @ kernel).astype(np.int64)


def _requantize(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    line = Line(*(program.tensors[op.tensors[use]] for use in ("multiplier", "bias", "shift")))
    return np.clip(line.at(x >> op.arguments["pre"]), op.output.low, op.output.high)


def _steps(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    edges, codes = (program.tensors[op.tensors[use]] for use in ("edges", "codes"))
    return codes.astype(np.int64)[np.searchsorted(edges, x, side="right")]


def _lookup(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    return program.tensors[op.tensors["table"]].astype(np.int64)[x - op.arguments["first"]]


def _max_pool(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    arguments = op.arguments
    views = _windows(x, arguments["window"], arguments["strides"], arguments["padding"], op.output.low)
    return views.max(axis=(-2, -1))


def _slice(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    axes = zip(*(op.arguments[name] for name in ("start", "limit", "strides")), strict=True)
    return x[(slice(None), *(slice(*axis) for axis in axes))]


def _dequantize(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) * program.tensors[op.tensors["step"]] + program.tensors[op.tensors["bias"]]


def _dense_float(op: Op, program: Program, x: np.ndarray) -> np.ndarray:
    feature = x.astype(np.float32) * np.float32(op.arguments["step"])
    return feature @ program.tensors[op.tensors["kernel"]] + program.tensors[op.tensors["bias"]]


RUN: dict[str, Run] = {
    "conv": _conv,
    "dense": _dense,
    "requantize": _requantize,
    "steps": _steps,
    "lookup": _lookup,
    "add": lambda op, program, x, y: x + y,
    "offset": lambda op, program, x: x + op.arguments["constant"],
    "multiply": lambda op, program, x, y: x * y,
    "clip": lambda op, program, x: np.clip(x, op.output.low, op.output.high),
    "sum": lambda op, program, x: x.sum(axis=(1, 2)),
    "max_pool": _max_pool,
    "reshape": lambda op, program, x: x.reshape(len(x), *op.output.shape),
    "slice": _slice,
    "dequantize": _dequantize,
    "dense_float": _dense_float,
}
