"""What a set of task CSVs holds, as text."""

from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import Table, read_table, task_csv

HEADER = ("task", "classes", "train", "test", "replay", "imbalance")


def describe(prefix: Path, root: Path | None = None) -> str:
    """Tables of the tasks `<prefix>_train{i}.csv`, i = 0, 1, ...

    Per task the classes, the images in train, test and replay ("-" where there is no such CSV) and the
    imbalance, the largest class of train over its smallest; then for every pair of tasks the classes and the
    training images that they share. Refuses a prefix without `_train0.csv` and what `read_table` refuses;
    with `root`, also missing images."""
    tasks = list(takewhile(lambda task: task_csv(prefix, "train", task).exists(), count()))
    if not tasks:
        raise Refusal(f"{task_csv(prefix, 'train', 0)} does not exist; give the prefix of a task set")
    trains = [read_table(task_csv(prefix, "train", task), root=root) for task in tasks]
    others = [[_images(task_csv(prefix, kind, task), root) for kind in ("test", "replay")] for task in tasks]
    rows = [_row(task, train, *other) for task, train, other in zip(tasks, trains, others, strict=True)]
    classes = _shared("classes shared by two tasks", [set(train.label.tolist()) for train in trains])
    images = _shared("training images shared by two tasks", [set(train.path.tolist()) for train in trains])
    return "\n\n".join([_align([HEADER, *rows]), classes, images])


def _images(path: Path, root: Path | None) -> str:
    return str(len(read_table(path, root=root, allow_empty=True).path)) if path.exists() else "-"


def _row(task: int, train: Table, test: str, replay: str) -> list[str]:
    sizes = np.unique(train.label, return_counts=True)[1]
    imbalance = f"{sizes.max() / sizes.min():.1f}"
    return [str(task), str(len(sizes)), str(len(train.path)), test, replay, imbalance]


def _shared(title: str, sets: Sequence[set]) -> str:
    numbers = [str(task) for task in range(len(sets))]
    rows = [[str(task), *(str(len(a & b)) for b in sets)] for task, a in enumerate(sets)]
    return f"{title}\n{_align([['task', *numbers], *rows])}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines)
