"""Permuted pixels: the tasks of permuted MNIST."""

import numpy as np


def permutations(num_tasks: int, pixels: int, seed: int) -> np.ndarray:
    """(num_tasks, pixels) int32; pixel i of task t's images is pixel [t, i] of the file, row after row.

    The first task is permuted too. Source: BLIP ImageClassification/src/dataloaders/pmnist.py, whose order of tasks is
    shuffled by `seed` and whose cache ignored it."""
    order = np.arange(10)
    np.random.RandomState(seed).shuffle(order)
    rows = np.tile(np.arange(pixels, dtype=np.int32), (num_tasks, 1))
    for task, row in enumerate(rows):
        np.random.RandomState(order[task % 10] * 100 + task).shuffle(row)
    return rows
