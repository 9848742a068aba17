"""Logits from an exported folder. Neither JAX nor the run folder is needed."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.integer import run
from lifeq_jax.export.manifest import Exported, read_file
from lifeq_jax.export.onnx_graph import EXTRA
from lifeq_jax.export.program import IMAGE

Runtime = Callable[[np.ndarray, int], np.ndarray]  # (uint8 (N, H, W, C), task) -> logits (N, K) float32
ONNX_FILE, INT8_FILE, C_FILE = "model.onnx", "model.int8.onnx", "model.c"
CHUNK = 64  # images that NumPy has in memory at a time


def numpy_runtime(exported: Exported) -> Runtime:
    """The program run by NumPy."""

    def logits(pixels: np.ndarray, task: int) -> np.ndarray:
        parts = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        return np.concatenate([run(exported.program, part, task) for part in parts])

    return logits


def onnx_runtime(exported: Exported, name: str = ONNX_FILE, optimize: bool = True) -> Runtime:
    """One of the ONNX files in onnxruntime, on the CPU, at full optimization or at none."""
    try:
        import onnxruntime
    except ImportError:
        raise Refusal(f"{name} needs onnxruntime: {EXTRA}") from None
    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    content = read_file(exported.folder, name, exported.files)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    takes_task = len(session.get_inputs()) > 1

    def logits(pixels: np.ndarray, task: int) -> np.ndarray:
        return session.run(None, {IMAGE: pixels} | ({"task": np.array(task, np.int64)} if takes_task else {}))[0]

    return logits


def compiler() -> str | None:
    """The C compiler of this machine, if there is one."""
    return next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def c_runtime(exported: Exported, flags: tuple[str, ...] = ("-O2",)) -> Runtime:
    """The C file, compiled. Refuses a machine without a compiler."""
    source, name = read_file(exported.folder, C_FILE, exported.files), compiler()
    if name is None:
        raise Refusal(f"{C_FILE} needs a C compiler, cc, gcc or clang; choose --runtime numpy")
    folder = tempfile.TemporaryDirectory()
    program = Path(folder.name) / "model"
    (program.with_suffix(".c")).write_bytes(source)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", *flags)
    subprocess.run([name, *strict, "-o", str(program), str(program.with_suffix(".c"))], check=True)
    outputs, tables = len(exported.about.classes), len(exported.about.input.numbers())

    def logits(pixels: np.ndarray, task: int, keep: object = folder) -> np.ndarray:
        words = [str(program), str(task if tables > 1 else 0)]
        done = subprocess.run(words, input=pixels.tobytes(), capture_output=True, check=True)
        return np.array(done.stdout.split(), np.float32).reshape(-1, outputs)

    return logits


def runtimes(exported: Exported) -> dict[str, Runtime]:
    """Every way in which the files of a folder can be run here, by file."""
    found = {"weights.safetensors (NumPy)": numpy_runtime(exported)}
    if ONNX_FILE in exported.files:
        found[f"{ONNX_FILE} (not optimized)"] = onnx_runtime(exported, optimize=False)
        found[f"{ONNX_FILE} (fully optimized)"] = onnx_runtime(exported)
    if INT8_FILE in exported.files:
        found[f"{INT8_FILE} (fully optimized)"] = onnx_runtime(exported, INT8_FILE)
    if C_FILE in exported.files and compiler() is not None:
        found[C_FILE] = c_runtime(exported)
    return found
