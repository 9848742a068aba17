"""The record of functions that an input path is, and the arrays it hands to one step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.data.augment import permuted
from lifeq_jax.data.order import Plan
from lifeq_jax.data.tables import Rows


class TaskTable(NamedTuple):
    """What differs between the batches of the T tasks of a sequence, arrays on the device; None: nothing does."""

    classes: jax.Array | None = None  # (T, K) bool, outputs of the head of each task
    pixels: jax.Array | None = None  # (T, h * w) int32: pixel i of task t's images is pixel pixels[t, i] of the file


class Feed(NamedTuple):
    """What the host hands to one step of B examples: NumPy arrays, which are traced inside `assemble`."""

    image: Any  # resident: (B,) int32 into the device set; pipeline: (B, h, w, c) uint8, cropped and flipped
    label: Any  # (B,) int32
    weight: Any  # (B,) float32
    task: Any  # (B,) int32
    is_replay: Any  # (B,) bool
    index: Any  # (B,) int32 into Catalog.paths, -1 for padding; hides tuple.index
    offset: Any  # (B, 2) int32
    flip: Any  # (B,) bool


class Input(NamedTuple):
    """One way from a plan to batches.

    Holds: all inputs of one catalog give bit-equal batches for the same rows and plan; `feeds` from step s is the tail
    of `feeds` from step 0."""

    constants: PyTree  # lives on the device for the whole run
    feeds: Callable[[Rows, Plan, int], Iterator[Feed]]  # (rows, plan, first step)
    assemble: Callable[[PyTree, Feed], Batch]  # (constants, feed), traceable
    whole: Callable[[Rows, Plan], Feed] | None = None
    """(rows, plan) -> the feeds of all steps, stacked: arrays (steps, B, ...); None where images come from the host"""


def feed_of(image: Any, rows: Rows, plan: Plan, step: int | slice) -> Feed:
    """The feed of one step, or of a slice of steps, with the given images."""
    row, weight = plan.row[step], plan.weight[step]
    return Feed(
        image=image,
        label=rows.label[row],
        weight=weight,
        task=rows.task[row],
        is_replay=rows.is_replay[row],
        index=np.where(weight > 0, rows.index[row], -1).astype(np.int32),
        offset=plan.offset[step],
        flip=plan.flip[step],
    )


def with_tasks(source: Input, table: TaskTable) -> Input:
    """`source` with the heads of their tasks in its batches, and with images permuted by task."""

    def assemble(constants: PyTree, feed: Feed) -> Batch:
        images, tasks = constants
        batch = source.assemble(images, feed)
        if tasks.pixels is not None:
            batch = batch._replace(image=permuted(batch.image, tasks.pixels[batch.task]))
        return batch if tasks.classes is None else batch._replace(classes=tasks.classes[batch.task])

    if all(part is None for part in table):
        return source
    return source._replace(constants=(source.constants, table), assemble=assemble)


def batch_of(image: Any, feed: Feed) -> Batch:
    """The batch of a feed with its finished images."""
    return Batch(image, feed.label, feed.weight, feed.task, feed.is_replay, feed.index)
