"""per_class.csv: how often each class was right at the end of every task, beside how many images it was trained on."""

from pathlib import Path

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import Rows, class_counts_of
from lifeq_jax.train.run_folder import CLASS_COLUMNS, Row, read_metrics


def class_rows(stage: str, after: int, task: int, train: Rows, confusion: np.ndarray) -> list[Row]:
    """The rows of `task`, scored after training task `after`: one for each class that it trains on or is scored on.

    `train` are the task's training rows, of which replay does not count; confusion: (K, K), row the true class."""
    train_images = class_counts_of(Rows(*(column[~train.is_replay] for column in train)), len(confusion))
    images, correct = confusion.sum(axis=1), np.diag(confusion)
    place = dict(stage=stage, after=after, task=task)
    return [
        place | {"class": label, "train_images": int(known), "images": int(scored), "correct": int(right)}
        for label, (known, scored, right) in enumerate(zip(train_images, images, correct, strict=True))
        if known or scored
    ]


def training_images(folder: Path, stage: str, num_classes: int) -> np.ndarray | None:
    """(num_classes,) int64 training images of each class, the most that any task finished in `stage` has of it.

    The most and not the sum, since tasks share images. None where the run folder does not say: it was written before
    per_class.csv was, or the stage has not finished a task. Refuses a damaged file."""
    path = folder / "per_class.csv"
    if not path.exists():
        return None
    counts = np.zeros(num_classes, np.int64)
    try:
        rows = [row for row in read_metrics(path) if row["stage"] == stage]
        last = max((int(row["after"]) for row in rows), default=-1)
        for row in rows:
            if int(row["task"]) <= last:
                label = int(row["class"])
                counts[label] = max(counts[label], int(row["train_images"]))
    except (KeyError, ValueError, IndexError) as error:
        raise Refusal(f"{path} is damaged: {error}; its columns are {','.join(CLASS_COLUMNS)}") from None
    return counts if rows else None
