"""From a folder of images to what training reads: one size, a test split, task files, mean and deviation."""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import first_line
from lifeq_jax.data.lifelong import make_domains, make_lifelong
from lifeq_jax.data.prepare import Prepared, prepare
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.walk import SPLIT_NAMES, image_tree, readable_endings

TEST_SHARE = 0.2  # of each class, where there is no test split
REPLAY_SHARE = 0.2  # of each task, for the tasks after it
LARGEST = 64  # side of the images, unless another is asked for: a small network trains on them in minutes


class Look(NamedTuple):
    """Layout, classes and image sizes of a folder of images."""

    folder: Path
    splits: tuple[str, ...]  # folders that are splits; none: a test split has to be made
    tasks: tuple[str, ...]  # folders that are tasks: those that lie above the class folders, below any split
    images: Counter[str]  # of each class
    sides: np.ndarray  # (N, 2) int64, height and width

    @property
    def layout(self) -> str:
        """The levels of folders, for a reader: <split>/<class>/<file>."""
        return "/".join(["<split>"] * bool(self.splits) + ["<task>"] * bool(self.tasks) + ["<class>", "<file>"])

    @property
    def size(self) -> int | None:
        """The side to which images are resized, the largest power of two up to the median of their shorter sides, from
        8 to LARGEST. None: all images are squares of one size up to LARGEST already."""
        (height, width), short = self.sides[0], float(np.median(self.sides.min(axis=1)))
        if (self.sides == height).all() and height == width <= LARGEST:
            return None
        return int(2 ** np.clip(np.floor(np.log2(short)), 3, np.log2(LARGEST)))


class Started(NamedTuple):
    """A prepared folder, with what a recipe says of it."""

    prepared: Prepared
    csv: Path  # what the names of the task files begin with
    classes: tuple[str, ...]
    train_images: tuple[int, ...]  # of each task
    test_images: tuple[int, ...]
    side: int
    mean: tuple[float, ...]  # of each channel, one where all images are gray, pixels in 0..1
    std: tuple[float, ...]
    notes: tuple[str, ...]  # warnings for the user, a line each


def look(folder: Path) -> Look:
    """Reads the names and sizes of all images, in folders `<class>`, which may lie in `<split>`, `<task>`, or both.

    Refuses a folder without images, and one with images outside class folders, with images both in splits and in none,
    with a split but no `train`, with tasks and splits but no `test`, or with files that are no images."""
    paths = image_tree(folder, readable_endings(), splits=False).images
    parts = [PurePosixPath(path).parts for path in paths]
    splits = tuple(name for name in SPLIT_NAMES if any(part[0] == name for part in parts))
    if splits:
        for path, part in zip(paths, parts, strict=True):
            if part[0] not in splits:
                raise Refusal(f"{folder / path} is in no split, and others are in {', '.join(splits)}")
        if "train" not in splits:
            raise Refusal(f"{folder} has {', '.join(splits)} and no train; name that split so")
        parts = [part[1:] for part in parts]
    has_tasks = all(len(part) > 2 for part in parts)
    tasks = tuple(sorted({part[0] for part in parts})) if has_tasks else ()
    if tasks and splits and "test" not in splits:
        raise Refusal(f"{folder} has tasks and no test split; name that split test")
    sides = np.array([_sides(folder / path) for path in paths])
    return Look(folder, splits, tasks, Counter(part[1 if tasks else 0] for part in parts), sides)


def _sides(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refusal(f"{path} is not a readable image ({first_line(error)})") from None


def start(found: Look, out: Path, *, tasks: int | None = None, size: int | None = None, seed: int = 0) -> Started:
    """Writes `<out>/images`, unless `prepare` finds it complete, and `<out>/tasks_<split>{i}.csv`.

    tasks: their number if the folder has no task folders, with about equally many classes in each; None: one. size:
    side of the images; None: that of `Look`. Refuses another number than that of the task folders, and what `prepare`,
    `make_domains` and `make_lifelong` refuse."""
    if found.tasks and tasks not in (None, len(found.tasks)):
        raise Refusal(f"--tasks {tasks}: {found.folder} has the tasks {', '.join(found.tasks)}")
    divided = len(found.splits) > 1
    root, csv = out / "images", out / "tasks"
    prepared = prepare(
        root,
        "folder",
        source_folder=found.folder,
        size=size or found.size,
        test_fraction=None if divided else TEST_SHARE,
        download=False,
        seed=seed,
    )
    if found.tasks:
        made = make_domains(root, csv, domains=found.tasks, seed=seed)
    else:
        made = make_lifelong(root, csv, num_tasks=tasks or 1, diminish_rate=1.0, seed=seed)
    number = len(made.images["train"])
    if number > 1:
        make_replay(csv, num_tasks=number, rate=REPLAY_SHARE, seed=seed)
    side = size or found.size or int(found.sides[0, 0])
    mean, std = moments(root / "train")
    counts = (made.images["train"], made.images["test"])
    return Started(prepared, csv, made.classes, *counts, side, mean, std, made.notes)


def moments(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of a prepared folder, in 0..1, to three digits.

    One channel if every image is gray, even in files with colors. A deviation is 0.001 at least: inputs are divided by
    it, and that of a blank channel is 0."""
    total, squares, pixels, gray = np.zeros(3), np.zeros(3), 0, True
    for path in image_tree(folder, splits=False).images:
        with Image.open(folder / path) as image:
            values = np.asarray(image.convert("RGB"), np.float64).reshape(-1, 3) / 255
        gray = gray and bool((values == values[:, :1]).all())
        total, squares, pixels = total + values.sum(axis=0), squares + (values**2).sum(axis=0), pixels + len(values)
    mean = total / pixels
    std = np.maximum(np.sqrt(np.maximum(squares / pixels - mean**2, 0)), 1e-3)
    kept = slice(1 if gray else 3)
    return tuple(np.round(mean, 3)[kept].tolist()), tuple(np.round(std, 3)[kept].tolist())
