"""Reads and checks metrics.csv and weight_distance.csv, which grow epoch by epoch. Shares are 0 to 1."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.runs.columns import DISTANCE_COLUMNS, OSCILLATIONS, metric_columns
from lifeq_jax.runs.rows import read_amounts, read_shares, read_table, read_whole_numbers


class History(NamedTuple):
    """The N rows of metrics.csv in the order they were written, with the columns that a report draws."""

    stage: tuple[str, ...]  # N names
    task: tuple[int, ...]  # N numbers, the task in training
    images_per_second: np.ndarray  # (N,) float64, of training
    state_megabytes: np.ndarray  # (N,) float64, of the train state, 10^6 bytes
    accuracy: np.ndarray  # (N, T) float64, on the test set of each task after the epoch; NaN: not evaluated
    running_accuracy: np.ndarray  # (N, T) float64, the same before batch-norm re-estimation; NaN: not measured
    oscillating: np.ndarray  # (N,) float64, share of tracked weights that oscillate; NaN: not tracked
    frozen: np.ndarray  # (N,) float64, share of tracked weights that are frozen; NaN: not tracked


class Distances(NamedTuple):
    """The M rows of weight_distance.csv: tracked weights counted by their signed distance to the nearest code."""

    stage: tuple[str, ...]  # M names
    task: tuple[int, ...]  # M numbers, the task in training
    epoch: tuple[int, ...]  # M numbers, of the task
    counts: np.ndarray  # (M, BINS) int64


def read_history(path: Path, num_tasks: int) -> History:
    """Reads metrics.csv of a sequence of `num_tasks` tasks.

    Raises:
        Refusal: names the row and column that is missing or damaged."""
    rows = read_table(path, metric_columns(num_tasks))
    oscillating, frozen = read_shares(path, rows, OSCILLATIONS).T
    return History(
        stage=tuple(row["stage"] for row in rows),
        task=read_whole_numbers(path, rows, "task"),
        images_per_second=read_amounts(path, rows, "images_per_second"),
        state_megabytes=read_amounts(path, rows, "state_megabytes"),
        accuracy=read_shares(path, rows, [f"accuracy_{task}" for task in range(num_tasks)]),
        running_accuracy=read_shares(path, rows, [f"running_accuracy_{task}" for task in range(num_tasks)]),
        oscillating=oscillating,
        frozen=frozen,
    )


def read_distances(path: Path) -> Distances:
    """Reads weight_distance.csv, which has no rows if nothing was tracked.

    Raises:
        Refusal: names the row and column that is missing or damaged."""
    rows = read_table(path, DISTANCE_COLUMNS, least=0)
    counts = [read_whole_numbers(path, rows, name) for name in DISTANCE_COLUMNS[3:]]
    return Distances(
        stage=tuple(row["stage"] for row in rows),
        task=read_whole_numbers(path, rows, "task"),
        epoch=read_whole_numbers(path, rows, "epoch"),
        counts=np.array(counts, np.int64).T,
    )
