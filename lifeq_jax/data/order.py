"""The order, crops and mirrors of an epoch's images, as functions of integers alone."""

import math
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.keys import generator_for
from lifeq_jax.core.refusal import Refusal

RESIZES = ("", "random_resized_crop")
TRIES = 10
AREA = (0.08, 1.0)  # share of the image that a random box covers
RATIO = (3 / 4, 4 / 3)  # width of a random box over its height


class ImageSpec(NamedTuple):
    """How the stored images become the network's input.

    With `resize` "" all files have one size, and training takes random crops of the padded image. With
    "random_resized_crop" they may have any size: training resizes a random box of the image to `crop`; evaluation
    resizes the short side to `stored[0]`, which equals `stored[1]`, and takes the center crop."""

    stored: tuple[int, int, int]  # height, width, channels of every file
    pad: int  # black pixels added on each side before the crop
    crop: tuple[int, int]  # height, width that the network sees
    mean: tuple[float, ...]  # per channel, of values in [0, 1]; or per task and channel, task after task
    std: tuple[float, ...]  # in the same order as `mean`
    flip: bool  # whether training mirrors half of the images
    resize: str = ""  # of RESIZES


class Plan(NamedTuple):
    """One pass over some rows in `steps` batches of B."""

    row: np.ndarray  # (steps, B) int32 into the rows
    offset: np.ndarray  # (steps, B, 2) int32, corner (y, x) in the padded image; not used with `resize`
    flip: np.ndarray  # (steps, B) bool, mirrored left to right after the crop
    weight: np.ndarray  # (steps, B) float32, 0 for padding
    draw: np.ndarray  # (steps, B, TRIES + 1, 2) float32 of `box_draws`; (steps, B, 0, 2) where no box is drawn


def freedom(spec: ImageSpec) -> tuple[int, int]:
    """How far the crop's corner can move down and right; refuses a spec that does not fit together."""
    height, width, channels = spec.stored
    free = (height + 2 * spec.pad - spec.crop[0], width + 2 * spec.pad - spec.crop[1])
    if min(free) < 0 or spec.pad < 0 or min(spec.crop) < 1:
        raise Refusal(f"crop {spec.crop} does not fit images of {height}x{width} with pad {spec.pad}")
    if channels not in (1, 3):
        raise Refusal(f"{channels} image channels; choose from 1, 3")
    if len(spec.mean) != len(spec.std) or len(spec.mean) % channels or min(spec.std, default=0) <= 0:
        raise Refusal(f"mean {spec.mean} and std {spec.std} need {channels} values each, std above 0")
    if spec.resize not in RESIZES:
        raise Refusal(f"resize={spec.resize!r} is unknown; choose from {', '.join(map(repr, RESIZES))}")
    if spec.resize and (height != width or spec.pad):
        raise Refusal(f"resize={spec.resize!r} needs square images and pad 0, not {height}x{width} and pad {spec.pad}")
    return free


def box_draws(random: np.random.Generator, number: int) -> np.ndarray:
    """The random numbers of `number` boxes of random-resized-crop, independent of the images' sizes; float32
    (number, TRIES + 1, 2).

    Rows 0 .. TRIES - 1 are tries (height, width) in units of sqrt(H W): area uniform in AREA, logarithm of width /
    height uniform over RATIO. The last row is the position (y, x) of the corner in [0, 1). Source: Szegedy et al. 2015,
    section 6, with torchvision's number of tries."""
    drawn = random.random((number, TRIES + 1, 2), dtype=np.float32)
    uniform = drawn[:, :TRIES].astype(np.float64)
    area = AREA[0] + (AREA[1] - AREA[0]) * uniform[..., 0]
    ratio = np.exp(math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * uniform[..., 1])
    drawn[:, :TRIES] = np.sqrt(np.stack([area / ratio, area * ratio], axis=-1))
    return drawn


def train_plan(
    num_rows: int, batch_size: int, spec: ImageSpec, *, seed: int, stage: int, task: int, epoch: int
) -> Plan:
    """A random order with random crops or boxes and mirrors, the same for the same numbers on every machine.

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
    weight = np.ones((steps, batch_size), np.float32)
    draw = _no_draw(weight.shape)
    if spec.resize:  # step by step: the doubles of an epoch of ImageNet at once would take a gigabyte
        draw = np.stack([box_draws(random, batch_size) for _ in range(steps)])
    return Plan(row.astype(np.int32), offset.astype(np.int32), flip, weight, draw)


def test_plan(num_rows: int, batch_size: int, spec: ImageSpec) -> Plan:
    """All rows in order with center crops; the last batch is padded with row 0 at weight 0."""
    free = freedom(spec)
    steps = -(-num_rows // check_batch_size(batch_size))
    row = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    weight = (row < num_rows).astype(np.float32)
    offset = np.broadcast_to(np.array([free[0] // 2, free[1] // 2], np.int32), (steps, batch_size, 2))
    row = np.where(row < num_rows, row, 0).astype(np.int32)
    return Plan(row, offset, np.zeros(row.shape, np.bool_), weight, _no_draw(row.shape))


def _no_draw(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros((*shape, 0, 2), np.float32)


def check_batch_size(batch_size: int) -> int:
    """Returns `batch_size`; refuses what is below 1."""
    if batch_size < 1:
        raise Refusal(f"batch_size={batch_size} is out of range; choose 1 or more")
    return batch_size
