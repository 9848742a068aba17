"""The CSV files of the benchmark's sequences, from images under data/."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from lifeq_jax.core.config import Data
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.long_tail import long_tail_of_tasks
from lifeq_jax.data.prepare import prepare
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.sequences import make_sequence
from lifeq_jax.data.tables import concat_tables, load_tasks, read_image_table, select_rows, task_csv, write_table

FOLDER = Path("data/lqcl")
PART, ALL = "part", "all"  # prefixes of the CSV files: with the sequence's share of replay, and with all rows replayed


def prepare_sequence(name: str) -> None:
    """Writes the CSV files of a sequence, unless they are there. Refuses where its images are missing."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / f".{name}.lock"):  # several processes may work on the tables
        if not (folder / "done").exists():
            tasks, rate = SEQUENCES[name](folder / PART)
            SEQUENCES[name](folder / ALL)
            make_replay(folder / PART, num_tasks=tasks, rate=rate)
            make_replay(folder / ALL, num_tasks=tasks, rate=1.0)
            (folder / "done").touch()


def few_shot_classes(data: Data) -> np.ndarray:
    """Classes that have, in the last task's training data with its replay, images, but fewer than half as many as the
    largest class; none where all tasks have the same images, permuted."""
    if data.permuted:
        return np.zeros(0, np.int64)
    tasks = load_tasks(Path(data.csv), data.num_tasks, root=None, num_classes=data.num_classes, replay=True)
    tables = [tasks[-1].train, *(task.replay for task in tasks[:-1] if task.replay is not None)]
    counts = np.bincount(concat_tables(tables).label)
    return np.flatnonzero((counts > 0) & (counts < counts.max() / 2))


def _digits(prefix: Path) -> tuple[int, float]:
    prepare(Path("data/digits"), "digits")
    make_lifelong(Path("data/digits"), prefix, num_tasks=3, diminish_rate=0.75, seed=123)
    return 3, 0.2


def _digits_long_tail(prefix: Path) -> tuple[int, float]:
    _digits(source := FOLDER / "digits_whole" / PART)
    long_tail_of_tasks(source, prefix, num_tasks=3, gamma=10)
    return 3, 0.2


def _mnist_pairs(prefix: Path) -> tuple[int, float]:
    make_sequence("mnist5", _images("mnist"), prefix)
    _thin(prefix, tasks=5, every=5)
    return 5, 0.02


def _mnist_permuted(prefix: Path) -> tuple[int, float]:
    make_sequence("pmnist", _images("mnist"), prefix)
    _thin(prefix, tasks=1, every=10)
    return 1, 0.02


def _cifar10(prefix: Path) -> tuple[int, float]:
    root = Path("data/cifar10_16")
    prepare(root, "folder", size=16, source_folder=_images("cifar10"))
    make_lifelong(root, prefix, num_tasks=3, diminish_rate=0.75, seed=123)
    _thin(prefix, tasks=3, every=10)
    return 3, 0.2


SEQUENCES: dict[str, Callable[[Path], tuple[int, float]]] = {
    "digits": _digits,
    "digits_long_tail": _digits_long_tail,
    "mnist_pairs": _mnist_pairs,
    "mnist_permuted": _mnist_permuted,
    "cifar10": _cifar10,
}
"""Sequence, a recipe of recipes/benchmark/lqcl.py -> writer of its train and test CSV files.

It returns the number of tasks and the share of the rows that are replayed."""


def _images(name: str) -> Path:
    root = Path("data") / name
    if not (root / "train").is_dir():
        made = f"`lifeq-jax data prepare --root {root} --source {name} --download`"
        raise Refusal(f"{root} holds no images; put them there as <split>/<class>/<file>, or {made}")
    return root


def _thin(prefix: Path, tasks: int, every: int) -> None:
    """Every n-th row of the train and test CSV files of all tasks; they are sorted by class."""
    for kind in ("train", "test"):
        for task in range(tasks):
            path = task_csv(prefix, kind, task)
            table = read_image_table(path)
            write_table(path, select_rows(table, np.arange(0, len(table.path), every)))
