"""The numbers of per_class.csv that a report shows."""

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


UNBALANCED = 1.5  # times the training images of the smallest class; chance makes smaller differences


def is_unbalanced(classes: Classes) -> bool:
    """Whether in any task the largest of the classes that are scored has more than UNBALANCED times the training images
    of the smallest."""
    tasks = zip(classes.train_images, classes.images, strict=True)
    sizes = [known[scored > 0] for known, scored in tasks]
    return any(size.max() > UNBALANCED * size.min() for size in sizes if size.size)


def class_numbers(classes: Classes, many: int, few: int) -> dict[str, float]:
    """NUMBERS as shares, each a mean over the tasks that have it; NaN if no task has it."""
    shares = class_shares(classes.correct, classes.images)
    accuracy = class_shares(classes.correct.sum(axis=1), classes.images.sum(axis=1))
    balanced = np.array([mean_of_known(row) for row in shares])
    pairs = zip(shares, classes.train_images, strict=True)
    groups = np.array([shot_groups(row, known, many, few) for row, known in pairs])
    values = [accuracy, balanced, *groups.T]
    return {name: mean_of_known(value) for name, value in zip(NUMBERS, values, strict=True)}


class ClassCurve(NamedTuple):
    """The C classes that a task scores, most training images first."""

    label: np.ndarray  # (C,) names
    train_images: np.ndarray  # (C,) float64
    mean: np.ndarray  # (C,) float64, accuracy as a share, mean over runs
    deviation: np.ndarray  # (C,) float64, sample standard deviation over runs; 0 for one run


def class_curves(runs: Sequence[Classes], names: Sequence[str]) -> list[ClassCurve]:
    """The accuracy by class of the runs of one recipe, task by task; classes that some run does not score are left
    out. `names`: of all K classes."""
    return [_curve(runs, names, task) for task in range(len(runs[0].images))]


def _curve(runs: Sequence[Classes], names: Sequence[str], task: int) -> ClassCurve:
    label = np.flatnonzero(np.all([one.images[task] > 0 for one in runs], axis=0))
    values = np.array([class_shares(one.correct, one.images)[task, label] for one in runs])
    train_images = np.mean([one.train_images[task, label] for one in runs], axis=0)
    order = np.argsort(-train_images, kind="stable")
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(label))
    return ClassCurve(np.array(names)[label[order]], train_images[order], values.mean(axis=0)[order], deviation[order])
