"""What a run wrote epoch by epoch: metrics.csv and weight_distance.csv, read and checked. Shares are 0 to 1."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal


class History(NamedTuple):
    """The N rows of metrics.csv, what a report draws of them, in the order they were written."""

    stage: tuple[str, ...]  # N names
    task: tuple[int, ...]  # N numbers, the task in training
    accuracy: np.ndarray  # (N, T) float64, on the test set of each task after the epoch; NaN: not evaluated
    running_accuracy: np.ndarray  # (N, T) float64, the same before batch-norm re-estimation; NaN: not measured
    oscillating: np.ndarray  # (N,) float64, share of tracked weights that oscillate; NaN: not tracked
    frozen: np.ndarray  # (N,) float64, share of tracked weights that are frozen; NaN: not tracked


DISTANCE_BINS = 20  # of equal width over [-0.5, 0.5] quantization steps


class Distances(NamedTuple):
    """The M rows of weight_distance.csv: tracked weights counted by their signed distance to the nearest code."""

    stage: tuple[str, ...]  # M names
    task: tuple[int, ...]  # M numbers, the task in training
    epoch: tuple[int, ...]  # M numbers, of the task
    counts: np.ndarray  # (M, DISTANCE_BINS) int64


def read_rows(path: Path, least: int = 1) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file. Refuses no file, fewer rows than `least`, a row that does not fit the header."""
    if not path.is_file():
        raise Refusal(f"{path} does not exist; {path.parent} is not a finished run")
    try:
        with path.open(newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(f"{path} is not CSV: {error}") from None
    if len(lines) < 1 + least:
        raise Refusal(f"{path} has no rows")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(lines[0]):
            raise Refusal(f"{path}, row {number}: {len(line)} values under {len(lines[0])} headings")
    return lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_shares(path: Path, rows: list[dict[str, str]], columns: list[str]) -> np.ndarray:
    """(rows, columns) float64; a cell that is empty, or of a column the file lacks, is NaN.

    Refuses, naming row and column, what is not a share from 0 to 1."""
    table = [
        [_share(row.get(name, ""), f"{path}, row {number}: {name}") for name in columns]
        for number, row in enumerate(rows, start=1)
    ]
    return np.array(table)


def _share(text: str, place: str) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        raise Refusal(f"{place}={text!r} is not a number") from None
    if not (math.isnan(value) or 0 <= value <= 1):
        raise Refusal(f"{place}={text!r} is not a share from 0 to 1")
    return value


def read_whole_numbers(path: Path, rows: list[dict[str, str]], name: str) -> tuple[int, ...]:
    """A column of whole numbers from 0, of at most 15 digits so that sums fit 64 bits. Refuses anything else."""
    for number, row in enumerate(rows, start=1):
        if not (row[name].isdecimal() and len(row[name]) <= 15):
            raise Refusal(f"{path}, row {number}: {name}={row[name]!r} is not a whole number")
    return tuple(int(row[name]) for row in rows)


def read_history(path: Path) -> History:
    """Reads metrics.csv. Refuses, naming row and column, what is missing or damaged.

    Files written before oscillations were tracked lack the columns running_accuracy_*, oscillating, frozen."""
    header, rows = read_rows(path)
    columns = [name for name in header if name.startswith("accuracy_")]
    running = [f"running_{name}" for name in columns]
    needed = ["stage", "task", "accuracy_0", *(running if any(name in header for name in running) else [])]
    missing = [name for name in needed if name not in header]
    if missing:
        raise Refusal(f"{path}: the header lacks {missing[0]}; it has {', '.join(header)}")
    oscillating, frozen = read_shares(path, rows, ["oscillating", "frozen"]).T
    return History(
        stage=tuple(row["stage"] for row in rows),
        task=read_whole_numbers(path, rows, "task"),
        accuracy=read_shares(path, rows, columns),
        running_accuracy=read_shares(path, rows, running),
        oscillating=oscillating,
        frozen=frozen,
    )


def read_distances(path: Path) -> Distances | None:
    """Reads weight_distance.csv; None where the run wrote none, no rows where it tracked nothing.

    Refuses, naming row and column, what is damaged."""
    if not path.exists():
        return None
    header, rows = read_rows(path, least=0)
    bins = [f"bin_{number}" for number in range(DISTANCE_BINS)]
    if header != ["stage", "task", "epoch", *bins]:
        needed = f"stage,task,epoch,bin_0,...,{bins[-1]}"
        raise Refusal(f"{path}: the header is {','.join(header)}; it must be {needed}")
    counts = [read_whole_numbers(path, rows, name) for name in bins]
    return Distances(
        stage=tuple(row["stage"] for row in rows),
        task=read_whole_numbers(path, rows, "task"),
        epoch=read_whole_numbers(path, rows, "epoch"),
        counts=np.array(counts, np.int64).T,
    )
