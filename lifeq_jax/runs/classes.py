"""Reads and checks per_class.csv and confusion.csv, the predictions of each class at the end of every task."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import CLASS_COLUMNS, CONFUSION_COLUMNS
from lifeq_jax.runs.rows import read_table, read_whole_numbers


class Classes(NamedTuple):
    """The T tasks and K classes of a run at the end of its last stage, int64."""

    train_images: np.ndarray  # (T, K) of the task's own training data, without replay
    images: np.ndarray  # (T, K) scored
    correct: np.ndarray  # (T, K) of them


def read_classes(path: Path, recipe: Recipe, tasks: int) -> Classes:
    """Reads the rows of per_class.csv about the end of the last stage, which has `tasks` tasks.

    Raises:
        Refusal: names the row and column that is missing or damaged."""
    stage = recipe.stages[-1].name
    after, task, label, *counts = _read_stage(path, stage, recipe.data.num_classes)
    chosen = (after == tasks - 1) & (task < tasks)
    if set(task[chosen]) != set(range(tasks)):
        raise Refusal(f"{path} lacks rows of stage {stage} after task {tasks - 1}")
    tables = np.zeros((3, tasks, recipe.data.num_classes), np.int64)
    tables[:, task[chosen], label[chosen]] = np.array(counts)[:, chosen]
    return Classes(*tables)


def read_confusion(path: Path, recipe: Recipe, tasks: int) -> np.ndarray:
    """(K, K) int64 of the rows of confusion.csv that say how the last stage, of `tasks` tasks, ended, summed over its
    tasks; row: the true class.

    Raises:
        Refusal: names the row and column that is missing or damaged."""
    rows, number = read_table(path, CONFUSION_COLUMNS, least=0), recipe.data.num_classes
    table = np.array([read_whole_numbers(path, rows, name) for name in CONFUSION_COLUMNS[1:]], np.int64)
    after, task, label, predicted, images = table
    for row in np.flatnonzero(np.maximum(label, predicted) >= number)[:1]:
        worst = max(("class", label[row]), ("predicted", predicted[row]), key=lambda pair: pair[1])
        where = f"{path}, row {row + 1}: {worst[0]}={worst[1]}"
        raise Refusal(f"{where} is out of range; choose from 0 to {number - 1}")
    stage = np.array([row["stage"] == recipe.stages[-1].name for row in rows], bool)
    chosen = stage & (after == tasks - 1) & (task < tasks)
    if not chosen.any():
        raise Refusal(f"{path} lacks rows of stage {recipe.stages[-1].name} after task {tasks - 1}")
    confusion = np.zeros((number, number), np.int64)
    np.add.at(confusion, (label[chosen], predicted[chosen]), images[chosen])
    return confusion


def _read_stage(path: Path, stage: str, num_classes: int) -> np.ndarray:
    """(columns but the first, rows) int64, the numbers of one stage."""
    rows = read_table(path, CLASS_COLUMNS, least=0)
    table = np.array([read_whole_numbers(path, rows, name) for name in CLASS_COLUMNS[1:]], np.int64)
    _, _, label, _, images, correct = table
    for row in np.flatnonzero((label >= num_classes) | (correct > images))[:1]:
        where = f"{path}, row {row + 1}"
        if label[row] >= num_classes:
            raise Refusal(f"{where}: class={label[row]} is out of range; choose from 0 to {num_classes - 1}")
        raise Refusal(f"{where}: correct={correct[row]} is more than images={images[row]}")
    return table[:, np.array([row["stage"] == stage for row in rows], bool)]


def most_training_images(path: Path, stage: str, num_classes: int, after_task: int | None = None) -> np.ndarray | None:
    """(num_classes,) int64 training images of each class; for a class of several finished tasks the largest count,
    since tasks may share images. `after_task`: of the tasks up to this one. None if `stage` has not finished a task.

    Raises:
        Refusal: names the row and column that is missing or damaged."""
    after, task, label, known, _, _ = _read_stage(path, stage, num_classes)
    if not after.size:
        return None
    chosen = task <= (after.max() if after_task is None else after_task)
    counts = np.zeros(num_classes, np.int64)
    np.maximum.at(counts, label[chosen], known[chosen])
    return counts
