"""What a set of task CSVs holds, as text."""

from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import Table, is_train_csv, read_table, task_csv

HEADER = ("task", "classes", "train", "test", "replay", "imbalance")
SHOWN = 10  # class sizes at either end of a longer list


def describe(prefix: Path, root: Path | None = None) -> str:
    """Tables of the tasks `<prefix>_train{i}.csv`, i = 0, 1, ..., or of the single task whose train CSV `prefix`
    is.

    Per task the classes, the images in train, test and replay ("-" where there is no such CSV) and the
    imbalance, the largest class of train over its smallest; the sizes of its classes, 0 for those that only test
    has; and, where there are several tasks, for every pair the classes and the training images that they share.
    Refuses a prefix without `_train0.csv` and what `read_table` refuses; with `root`, also missing images."""
    tasks = _tasks(prefix)
    trains = [read_table(task_csv(prefix, "train", task), root=root) for task in tasks]
    tests = [_read(task_csv(prefix, "test", task), root) for task in tasks]
    replays = [None if is_train_csv(prefix) else _read(task_csv(prefix, "replay", task), root) for task in tasks]
    rows = [_row(*row) for row in zip(tasks, trains, tests, replays, strict=True)]
    parts = [_align([HEADER, *rows]), _class_sizes(trains, tests)]
    if len(tasks) > 1:
        parts.append(_shared("classes shared by two tasks", [set(train.label.tolist()) for train in trains]))
        parts.append(_shared("training images shared by two tasks", [set(train.path.tolist()) for train in trains]))
    return "\n\n".join(parts)


def _tasks(prefix: Path) -> list[int]:
    if is_train_csv(prefix):
        return [0]
    tasks = list(takewhile(lambda task: task_csv(prefix, "train", task).exists(), count()))
    if not tasks:
        name = f"{Path(prefix).name}_train"
        single = sorted(path.name for path in Path(prefix).parent.glob("*.csv") if path.name.startswith(name))
        choices = f", or one of these CSV files: {', '.join(single)}" if single else ""
        raise Refusal(f"{task_csv(prefix, 'train', 0)} does not exist; give the prefix of a task set{choices}")
    return tasks


def _read(path: Path, root: Path | None) -> Table | None:
    return read_table(path, root=root, allow_empty=True) if path.exists() else None


def _row(task: int, train: Table, *others: Table | None) -> list[str]:
    sizes = np.unique(train.label, return_counts=True)[1]
    images = ["-" if table is None else str(len(table.path)) for table in others]
    return [str(task), str(len(sizes)), str(len(train.path)), *images, f"{sizes.max() / sizes.min():.1f}"]


def _class_sizes(trains: Sequence[Table], tests: Sequence[Table | None]) -> str:
    lines = [f"task {task}: {_falling(*pair)}" for task, pair in enumerate(zip(trains, tests, strict=True))]
    return "\n".join(["training images of each class, largest first", *lines])


def _falling(train: Table, test: Table | None) -> str:
    only_in_test = 0 if test is None else len(np.setdiff1d(test.label, train.label))
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
