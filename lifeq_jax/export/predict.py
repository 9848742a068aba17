"""Classes of image files by an exported network. Neither JAX nor the run folder is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.image import read_pixels
from lifeq_jax.export.manifest import About, read_exported
from lifeq_jax.export.runtime import Runtime, c_runtime, numpy_runtime, onnx_runtime

RUNTIMES = {"c": c_runtime, "numpy": numpy_runtime, "onnx": onnx_runtime}


class Guess(NamedTuple):
    """One class of one image."""

    image: str
    name: str
    output: int
    probability: float


def predict(
    folder: Path, images: Sequence[Path], *, task: int | None = None, top: int = 3, runtime: str = "numpy"
) -> list[list[Guess]]:
    """For each image file the `top` likeliest classes of `task`, the likeliest first.

    Refuses an unknown runtime or task, no task where the tasks differ, and files that are no images."""
    make = lookup(RUNTIMES, runtime, "--runtime")
    exported = read_exported(folder)
    outputs = outputs_of(exported.about, task)
    if top < 1:
        raise Refusal(f"--top {top} is out of range; choose 1 or more")
    pixels = np.stack([read_pixels(path, exported.about.input) for path in images])
    probability = probabilities(make(exported), pixels, task or 0, outputs)
    order = np.argsort(-probability, axis=1, kind="stable")[:, :top]
    return [
        [Guess(str(path), exported.about.classes[outputs[k]], int(outputs[k]), float(row[k])) for k in ranks]
        for path, row, ranks in zip(images, probability, order, strict=True)
    ]


def outputs_of(about: About, task: int | None) -> np.ndarray:
    """The outputs that a task chooses from. Refuses a missing or unknown task where the tasks differ."""
    if about.tasks and task is None:
        raise Refusal(f"--task is missing: the tasks of this network differ; choose from 0 to {about.tasks - 1}")
    if about.tasks and task not in range(about.tasks):
        raise Refusal(f"--task {task} is not a task of the network; choose from 0 to {about.tasks - 1}")
    return np.arange(len(about.classes)) if about.heads is None else np.array(about.heads[task or 0])


def probabilities(run: Runtime, pixels: np.ndarray, task: int, outputs: np.ndarray) -> np.ndarray:
    """(N, K) softmax over a task's outputs."""
    logits = run(pixels, task)[:, outputs].astype(np.float64)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
