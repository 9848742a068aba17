"""An exported network's files beside a float32 network of the same layers, all in onnxruntime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    Run,
    alternate,
    columns_of,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.manifest import Exported, read_exported, read_file
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.export.onnx_graph import Tensor
from lifeq_jax.export.program import IMAGE, Op, Program, users
from lifeq_jax.export.runtime import INT8_FILE, ONNX_FILE, compiler

FLOAT = "float ONNX"
FILES = {"exact ONNX": ONNX_FILE, "int8 ONNX": INT8_FILE}


class FloatWriter(Writer):
    """The program's layers in float32: batch norm folded into kernels, codes limited but not rounded."""

    def __init__(self, program: Program):
        super().__init__(program)
        self.makers = {op.output.name: op for op in program.ops}
        self.users = users(program)

    def tensor(self, op: Op) -> Tensor:
        """A convolution and what it is made codes by are one Conv and one Clip."""
        made_by = self.makers.get(op.inputs[0])
        if op.kind == "pixels":
            flat = self.array(op, "table")[0].astype(np.float32)
            slope = (flat[:, 255] - flat[:, 0]) / 255
            value = self.nodes.add("Transpose", self.nodes.cast(self.image, "FLOAT"), perm=[0, 3, 1, 2])
            value = self.nodes.add("Mul", value, slope.reshape(-1, 1, 1))
            return Tensor(self.nodes, op.output, "f32", self.nodes.add("Add", value, flat[:, :1].reshape(-1, 1, 1)))
        if op.kind == "conv" and [user.kind for user in self.users[op.output.name]] == ["requantize"]:
            return self.tensors[op.inputs[0]]
        if op.kind == "requantize" and made_by is not None and made_by.kind == "conv":
            return self._conv(made_by, op)
        return super().tensor(op)

    def _conv(self, op: Op, codes: Op) -> Tensor:
        multiplier, bias, shift = (self.array(codes, use) for use in ("multiplier", "bias", "shift"))
        slope = multiplier / 2.0**shift / 2.0 ** codes.arguments["pre"]
        kernel = self.program.weights[op.tensors["weight"]].integers * slope
        (top, bottom), (left, right) = op.arguments["padding"]
        how = dict(strides=op.arguments["strides"], pads=[top, left, bottom, right], group=op.arguments["groups"])
        start = np.broadcast_to(bias / 2.0**shift - 0.5, kernel.shape[-1:]).astype(np.float32)
        x, weight = self.tensors[op.inputs[0]], np.transpose(kernel, (3, 2, 0, 1)).astype(np.float32)
        value = self.nodes.add("Conv", x.as_float(), weight, start, **how)
        value = self.nodes.add("Clip", value, np.float32(codes.output.low), np.float32(codes.output.high))
        return Tensor(self.nodes, codes.output, "f32", value)


def bench_export(export: Path, repeats: int = 9, steps: int = 4) -> BenchmarkResult:
    """Milliseconds of one batch of 1 and of 64 images, one thread, and the time relative to the float network's.

    Refuses an export without ONNX files."""
    exported = read_exported(export)
    if ONNX_FILE not in exported.files:
        raise Refusal(f"{export} has no {ONNX_FILE}; export with --formats onnx,int8,c")
    before, rows = load(), {}
    for batch in (1, 64):
        image = np.random.default_rng(0).integers(0, 256, (batch, *exported.about.input.shape)).astype(np.uint8)
        runs = {name: _repeated(session, image) for name, session in _sessions(exported).items()}
        runs[FLOAT + AGAIN] = runs[FLOAT]
        elapsed, processor = alternate(runs, repeats, steps)
        ratios, own = medians_of_ratios(elapsed, FLOAT), medians_of_ratios(processor, FLOAT)
        for name, seconds in medians(elapsed).items():
            rows[f"{name}, batch {batch}"] = {
                "milliseconds": 1000 * seconds,
                "time_ratio_to_float": ratios[name],
                "processor_ratio_to_float": own[name],
            }
    sizes = {f"bytes of {name}": str((export / name).stat().st_size) for name in sorted(exported.files)}
    facts: dict[str, float | str] = {**sizes, "C compiler": compiler() or "none"}
    return BenchmarkResult("export", dict(repeats=repeats, steps=steps), columns_of(rows), facts, surroundings(before))


def _sessions(exported: Exported) -> dict[str, Any]:
    content = {FLOAT: FloatWriter(exported.program).write()}
    content |= {
        name: read_file(exported.folder, file, exported.files) for name, file in FILES.items() if file in exported.files
    }
    return {name: _session(model) for name, model in content.items()}


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _repeated(session: Any, image: np.ndarray) -> Run:
    feed: dict[str, Any] = {IMAGE: image}
    if len(session.get_inputs()) > 1:
        feed["task"] = np.array(0, np.int64)

    def run(times: int) -> None:
        for _ in range(times):
            session.run(None, feed)

    return run
