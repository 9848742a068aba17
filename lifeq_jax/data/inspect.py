"""A description of a set of task CSVs, as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.data.audit import audit
from lifeq_jax.data.tables import ImageTable, Task, load_tasks, tasks_there, told_single_classes

HEADER = ("task", "classes", "train", "test", "replay", "imbalance")
SHOWN = 10  # class sizes at either end of a longer list


class Description(NamedTuple):
    """A description of a set of task CSVs; str() gives the text."""

    text: str
    faults: tuple[str, ...]  # lines of `audit`, part of the text

    def __str__(self) -> str:
        return self.text


def describe(prefix: Path, root: Path | None = None) -> Description:
    """Describes the tasks `<prefix>_train{i}.csv`, i = 0, 1, ..., or the single task whose train CSV is `prefix`.

    Lists for each task its classes, its images in train, test and replay ("-" without replay), its imbalance (largest
    class of train over smallest) and its class sizes (0 for a class of test alone); for each pair of tasks the shared
    classes and training images; tasks of a single class; and the faults that `audit` finds. Refuses a prefix without
    CSV files, and what `load_tasks` and `audit` refuse."""
    number, replay = tasks_there(prefix)
    tasks = load_tasks(prefix, number, root=root, num_classes=None, replay=replay)
    trains, tests = ([getattr(task, kind) for task in tasks] for kind in ("train", "test"))
    parts = [_align([HEADER, *map(_row, range(number), tasks)]), _class_sizes(trains, tests)]
    if number > 1:
        parts.append(_shared("classes shared by two tasks", [set(train.label.tolist()) for train in trains]))
        parts.append(_shared("training images shared by two tasks", [set(train.path.tolist()) for train in trains]))
    faults = audit(Path(prefix), tasks, None if root is None else Path(root))
    how = "by path; --root compares the images themselves" if root is None else "by content"
    said = [told_single_classes("train", trains), told_single_classes("test", tests), *faults]
    if not faults:
        said.append(f"no leaks, contradictions, duplicates or copies of tasks ({how})")
    return Description("\n\n".join([*parts, "\n".join(filter(None, said))]), faults)


def _row(number: int, task: Task) -> list[str]:
    sizes = np.unique(task.train.label, return_counts=True)[1]
    images = ["-" if table is None else str(len(table.path)) for table in task]
    return [str(number), str(len(sizes)), *images, f"{sizes.max() / sizes.min():.1f}"]


def _class_sizes(trains: Sequence[ImageTable], tests: Sequence[ImageTable]) -> str:
    lines = [f"task {task}: {_falling(*pair)}" for task, pair in enumerate(zip(trains, tests, strict=True))]
    return "\n".join(["training images of each class, largest first", *lines])


def _falling(train: ImageTable, test: ImageTable) -> str:
    only_in_test = len(np.setdiff1d(test.label, train.label))
    sizes = sorted(np.unique(train.label, return_counts=True)[1].tolist(), reverse=True)
    words = [str(size) for size in sizes + [0] * only_in_test]
    if len(words) > 2 * SHOWN:
        words[SHOWN:-SHOWN] = [f"... {len(words) - 2 * SHOWN} more ..."]
    return " ".join(words)


def _shared(title: str, sets: Sequence[set]) -> str:
    numbers = [str(task) for task in range(len(sets))]
    rows = [[str(task), *(str(len(a & b)) for b in sets)] for task, a in enumerate(sets)]
    return f"{title}\n{_align([['task', *numbers], *rows])}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines)
