"""Which image stands where in an epoch, how it is cropped and whether it is mirrored: functions of integers
alone."""

from typing import NamedTuple

import numpy as np

from lifeq_jax.core.keys import generator_for
from lifeq_jax.core.refusal import Refusal


class ImageSpec(NamedTuple):
    """How the stored images become the network's input."""

    stored: tuple[int, int, int]  # height, width, channels of every file
    pad: int  # black pixels added on each side before the crop
    crop: tuple[int, int]  # height, width that the network sees
    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]  # per channel, of values in [0, 1]
    flip: bool  # whether training mirrors half of the images


class Plan(NamedTuple):
    """One pass over some rows in `steps` batches of B."""

    row: np.ndarray  # (steps, B) int32 into the rows
    offset: np.ndarray  # (steps, B, 2) int32, the crop's corner (y, x) in the padded image
    flip: np.ndarray  # (steps, B) bool, mirrored left to right after the crop
    weight: np.ndarray  # (steps, B) float32, 0 for padding


def freedom(spec: ImageSpec) -> tuple[int, int]:
    """How far the crop's corner can move down and right; refuses a spec that does not fit together."""
    height, width, channels = spec.stored
    free = (height + 2 * spec.pad - spec.crop[0], width + 2 * spec.pad - spec.crop[1])
    if min(free) < 0 or spec.pad < 0 or min(spec.crop) < 1:
        raise Refusal(f"crop {spec.crop} does not fit images of {height}x{width} with pad {spec.pad}")
    if channels not in (1, 3):
        raise Refusal(f"{channels} image channels; choose from 1, 3")
    if not len(spec.mean) == len(spec.std) == channels or min(spec.std) <= 0:
        raise Refusal(f"mean {spec.mean} and std {spec.std} need {channels} values each, std above 0")
    return free


def train_plan(
    num_rows: int, batch_size: int, spec: ImageSpec, *, seed: int, stage: int, task: int, epoch: int
) -> Plan:
    """A random order with random crops and mirrors, the same for the same numbers on every machine.

    Every row occurs at most once; the rows that do not fill the last batch are dropped. Refuses fewer rows
    than one batch."""
    free = freedom(spec)
    steps = num_rows // check_batch_size(batch_size)
    if steps == 0:
        raise Refusal(f"batch_size={batch_size} is larger than the {num_rows} training rows of task {task}")
    random = generator_for(seed, stage, task, epoch)
    row = random.permutation(num_rows)[: steps * batch_size].reshape(steps, batch_size)
    offset = random.integers(0, (free[0] + 1, free[1] + 1), size=(steps, batch_size, 2))
    flip = random.random((steps, batch_size)) < (0.5 if spec.flip else 0.0)
    return Plan(row.astype(np.int32), offset.astype(np.int32), flip, np.ones((steps, batch_size), np.float32))


def test_plan(num_rows: int, batch_size: int, spec: ImageSpec) -> Plan:
    """All rows in order, cropped in the middle; the last batch is filled up with row 0 at weight 0."""
    free = freedom(spec)
    steps = -(-num_rows // check_batch_size(batch_size))
    row = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    weight = (row < num_rows).astype(np.float32)
    offset = np.broadcast_to(np.array([free[0] // 2, free[1] // 2], np.int32), (steps, batch_size, 2))
    row = np.where(row < num_rows, row, 0).astype(np.int32)
    return Plan(row, offset, np.zeros(row.shape, np.bool_), weight)


def check_batch_size(batch_size: int) -> int:
    """Returns `batch_size`; refuses what is below 1."""
    if batch_size < 1:
        raise Refusal(f"batch_size={batch_size} is out of range; choose 1 or more")
    return batch_size
