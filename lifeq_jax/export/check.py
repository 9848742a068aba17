"""Compares exported files with the trained network on images: codes, logits, classes.

The network is evaluated operation by operation, outside jit, so that every operation is rounded separately. Under jit
XLA may fuse operations, and a value on the edge between two codes may fall to either side, which is a difference of a
whole step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.types import PyTree
from lifeq_jax.export.graph import sub_tree
from lifeq_jax.export.integer import run
from lifeq_jax.export.lower import Lowered
from lifeq_jax.export.quantized import Staged
from lifeq_jax.export.runtime import Runtime
from lifeq_jax.layers.quant import QuantAct
from lifeq_jax.quant.codes import LEARNED

BATCH = 64
TRAINED = "trained"  # the network itself, among the rows of an agreement


class StageWeights(NamedTuple):
    """The trained network of one stage."""

    model: nn.Module
    params: PyTree
    batch_stats: PyTree


class Images(NamedTuple):
    """Images of one task, as a network reads them."""

    pixels: np.ndarray  # (N, H, W, C) uint8
    label: np.ndarray | None  # (N,) outputs; None: unknown
    task: int
    outputs: np.ndarray  # numbers of the outputs that the task chooses from


class Agreement(NamedTuple):
    """The differences between a file's logits and those of the trained network."""

    images: int
    same_class: int
    logits: float  # largest difference
    accuracy: float | None  # share; None where the labels are not known


class Flips(NamedTuple):
    """Codes of the integer program that differ from those of the trained network."""

    codes: int
    flipped: int
    images: int  # that have a flipped code
    edge: float  # largest distance, in levels, of an image's first flipped code from an edge between codes


class Reference(NamedTuple):
    """The trained network's results for some images."""

    images: Images
    logits: np.ndarray
    level: list[np.ndarray]  # for each call of a quantizer, its input in levels, which rounds to the code
    code: list[np.ndarray]


def reference(trained: StageWeights, numbers: np.ndarray, images: Images, rows: int) -> Reference:
    """The trained network on a batch, operation by operation; numbers: of `InputSpec`.

    rows: at least as many as images; the batch that is computed has so many, some images twice: JAX compiles each
    operation for every size."""
    count = len(images.pixels)
    pixels = images.pixels[np.arange(rows) % count]
    level, code = [], []

    def record(next_method: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        module = context.module
        if context.method_name == "__call__" and isinstance(module, QuantAct) and module.quantizer.bits < 32:
            learned = sub_tree(trained.params, "/".join(module.path)).get(LEARNED, {})
            assert module.quantizer.codes is not None
            found = module.quantizer.codes(learned, args[0])
            code.append(np.asarray(found.values)[:count])
            level.append(np.asarray(module.quantizer.relax(learned, args[0]) / found.scale + found.zero)[:count])
        return next_method(*args, **kwargs)

    table = numbers[images.task if len(numbers) > 1 else 0]
    seen = np.stack([row[pixels[..., channel]] for channel, row in enumerate(table)], axis=-1)
    variables = {"params": trained.params, "batch_stats": trained.batch_stats}
    with nn.intercept_methods(record):
        logits = trained.model.apply(variables, jnp.asarray(seen), train=False)
    return Reference(images, np.asarray(logits)[:count], level, code)


def compare(
    trained: StageWeights, lowered: Lowered, numbers: np.ndarray, sets: Sequence[Images], runtimes: dict[str, Runtime]
) -> tuple[Flips, dict[str, Agreement]]:
    """Compares the integer program's codes, and each runtime's logits, with the trained network's (row TRAINED)."""
    flips, rows = Flips(0, 0, 0, 0.0), {name: Agreement(0, 0, 0.0, 0.0) for name in (TRAINED, *runtimes)}
    rows_of_batch = min(BATCH, max(len(images.pixels) for images in sets))
    for batch in (part for images in sets for part in _batches(images)):
        found = reference(trained, numbers, batch, rows_of_batch)
        flips = _flips_of(flips, lowered, found)
        for name in rows:
            logits = found.logits if name == TRAINED else runtimes[name](batch.pixels, batch.task)
            rows[name] = _agreement(rows[name], logits, found)
    return flips, {name: _shares(row) for name, row in rows.items()}


def _batches(images: Images) -> list[Images]:
    starts = range(0, len(images.pixels), BATCH)
    cut = [slice(start, start + BATCH) for start in starts]
    label = images.label
    return [images._replace(pixels=images.pixels[part], label=None if label is None else label[part]) for part in cut]


def _agreement(row: Agreement, logits: np.ndarray, found: Reference) -> Agreement:
    images = found.images
    chosen, wanted = (images.outputs[values[:, images.outputs].argmax(axis=1)] for values in (logits, found.logits))
    right = (
        None if images.label is None or row.accuracy is None else row.accuracy + float(np.sum(chosen == images.label))
    )
    return Agreement(
        row.images + len(logits),
        row.same_class + int(np.sum(chosen == wanted)),
        max(row.logits, float(np.abs(logits - found.logits).max())),
        right,
    )


def _shares(row: Agreement) -> Agreement:
    return row if row.accuracy is None else row._replace(accuracy=row.accuracy / max(row.images, 1))


def _flips_of(flips: Flips, lowered: Lowered, found: Reference) -> Flips:
    integers: dict[str, np.ndarray] = {}
    wanted = {staged.integers.name for staged in lowered.staged}

    def keep(name: str, values: np.ndarray) -> None:
        if name in wanted:
            integers[name] = values

    run(lowered.program, found.images.pixels, found.images.task, keep)
    number, flipped, edge = 0, 0, flips.edge
    different = np.zeros(len(found.images.pixels), bool)
    for staged, code, level in zip(lowered.staged, found.code, found.level, strict=True):
        own = _codes(staged, integers[staged.integers.name]).reshape(code.shape)
        wrong = own != code
        first = wrong.reshape(len(wrong), -1).any(axis=1) & ~different
        if first.any():
            distance = np.abs(level - (own + code) / 2)[first][wrong[first]]
            edge = max(edge, float(distance.max()))
        different |= first
        number, flipped = number + code.size, flipped + int(wrong.sum())
    return Flips(flips.codes + number, flips.flipped + flipped, flips.images + int(different.sum()), edge)


def _codes(staged: Staged, integers: np.ndarray) -> np.ndarray:
    return (integers + staged.shift) // staged.factor
