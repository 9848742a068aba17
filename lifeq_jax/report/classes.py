"""The numbers that a report takes from per_class.csv."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifeq_jax.metrics.classify import class_shares, mean_of_known, shot_groups
from lifeq_jax.runs.classes import Classes

NUMBERS = {
    "accuracy": "top-1 accuracy",
    "balanced_accuracy": "mean over the classes",
    "many": "mean over the classes with more than {many} training images",
    "medium": "mean over the classes with {few} to {many} training images",
    "few": "mean over the classes with fewer than {few} training images",
}


def is_unbalanced(classes: Classes) -> bool:
    """Whether in any task the classes that are scored differ in their training images."""
    tasks = zip(classes.train_images, classes.images, strict=True)
    return any(len(set(known[scored > 0])) > 1 for known, scored in tasks)


def class_numbers(classes: Classes, many: int, few: int) -> dict[str, float]:
    """NUMBERS as shares, each a mean over the tasks that have it; NaN: no task has it."""
    shares = class_shares(classes.correct, classes.images)
    accuracy = class_shares(classes.correct.sum(axis=1), classes.images.sum(axis=1))
    balanced = np.array([mean_of_known(row) for row in shares])
    pairs = zip(shares, classes.train_images, strict=True)
    groups = np.array([shot_groups(row, known, many, few) for row, known in pairs])
    values = [accuracy, balanced, *groups.T]
    return {name: mean_of_known(value) for name, value in zip(NUMBERS, values, strict=True)}


class Curve(NamedTuple):
    """C classes, most training images first; each number is a mean over the tasks that score the class."""

    label: np.ndarray  # (C,) int64
    train_images: np.ndarray  # (C,) float64
    mean: np.ndarray  # (C,) float64, accuracy as a share, mean over runs
    deviation: np.ndarray  # (C,) float64, sample standard deviation over runs; 0 for one run


def class_curve(runs: Sequence[Classes]) -> Curve:
    """The accuracy by class of the runs of one recipe; classes that some run does not score are left out."""
    scored = [one.images > 0 for one in runs]
    label = np.flatnonzero(np.all([tasks.any(axis=0) for tasks in scored], axis=0))
    shares = [_over_tasks(class_shares(one.correct, one.images), seen) for one, seen in zip(runs, scored, strict=True)]
    sizes = [_over_tasks(one.train_images, seen) for one, seen in zip(runs, scored, strict=True)]
    values, train_images = np.array(shares)[:, label], np.mean(sizes, axis=0)[label]
    order = np.argsort(-train_images, kind="stable")
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(label))
    return Curve(label[order], train_images[order], values.mean(axis=0)[order], deviation[order])


def _over_tasks(values: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """(K,) mean of (T, K) over the tasks that score the class, 0 where none does."""
    return np.where(scored, values, 0).sum(axis=0) / np.maximum(scored.sum(axis=0), 1)
