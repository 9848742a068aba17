"""Finished run folders, read and checked.

A run folder holds config.json (the recipe), metrics.csv (a row for each epoch), accuracy_matrix.csv and
summary.json. Accuracies are shares, 0 to 1."""

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import check_matrix


class History(NamedTuple):
    """The N rows of metrics.csv that a report draws, in the order they were written."""

    stage: tuple[str, ...]  # N names
    task: tuple[int, ...]  # N numbers, the task in training
    accuracy: np.ndarray  # (N, T) float64, on the test set of each task after the epoch; NaN: not evaluated


class Run(NamedTuple):
    """A finished run."""

    folder: Path
    recipe: Recipe
    matrix: np.ndarray  # (T, T) float64, row: after task i, column: on task j
    history: History
    stages: dict[str, tuple[float, ...]]  # accuracy on each task at the end of each stage
    seconds: float
    commit: str
    machine: str


def read_run(folder: str | Path) -> Run:
    """Reads a run folder. Refuses, naming the file, what is missing, damaged or not finished."""
    folder = Path(folder)
    recipe = read_recipe(folder / "config.json")
    summary = _read_summary(folder / "summary.json")
    return Run(
        folder=folder,
        recipe=recipe,
        matrix=_read_matrix(folder / "accuracy_matrix.csv"),
        history=_read_history(folder / "metrics.csv"),
        stages={name: tuple(accuracies) for name, accuracies in summary["stages"].items()},
        seconds=summary["seconds"],
        commit=summary["commit"],
        machine=summary["machine"],
    )


SUMMARY = {"stages": dict, "seconds": int | float, "commit": str, "machine": str}


def _read_summary(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Refusal(f"{path} does not exist; {path.parent} is not a finished run")
    try:
        summary = json.loads(path.read_text())
    except ValueError as error:  # not JSON, or not text
        raise Refusal(f"{path} is not JSON: {error}") from None
    if not isinstance(summary, dict) or summary.get("finished") is not True:
        raise Refusal(f"{path} does not say finished: true; {path.parent} is not a finished run")
    for key, kind in SUMMARY.items():
        if not isinstance(summary.get(key), kind):
            raise Refusal(f"{path}: {key}={summary.get(key)!r} is missing or of another type")
    for name, accuracies in summary["stages"].items():
        if not _are_shares(accuracies):
            place = f"{path}: stages of {name!r}={accuracies!r}"
            raise Refusal(f"{place} is not a list of accuracies from 0 to 1")
    return summary


def _are_shares(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int | float) and 0 <= v <= 1 for v in values)


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file. Refuses no file, no rows, a row that does not fit the header."""
    if not path.is_file():
        raise Refusal(f"{path} does not exist; {path.parent} is not a finished run")
    try:
        with path.open(newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(f"{path} is not CSV: {error}") from None
    if len(lines) < 2:
        raise Refusal(f"{path} has no rows")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(lines[0]):
            raise Refusal(f"{path}, row {number}: {len(line)} values under {len(lines[0])} headings")
    return lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def _share(text: str, place: str) -> float:
    """A share between 0 and 1; empty or nan is NaN."""
    try:
        value = float(text or "nan")
    except ValueError:
        raise Refusal(f"{place}={text!r} is not a number") from None
    if not (math.isnan(value) or 0 <= value <= 1):
        raise Refusal(f"{place}={text!r} is not an accuracy from 0 to 1")
    return value


def _read_matrix(path: Path) -> np.ndarray:
    header, rows = _read_rows(path)
    needed = [f"task_{task}" for task in range(len(rows))]
    if header != needed:
        raise Refusal(f"{path}: {len(rows)} rows need the header {','.join(needed)}, not {','.join(header)}")
    matrix = [
        [_share(row[task], f"{path}, row {number}: {task}") for task in header]
        for number, row in enumerate(rows, start=1)
    ]
    try:
        return check_matrix(np.array(matrix))
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from None


def _read_history(path: Path) -> History:
    header, rows = _read_rows(path)
    columns = [name for name in header if name.startswith("accuracy_")]
    missing = [name for name in ("stage", "task", "accuracy_0") if name not in header]
    if missing:
        raise Refusal(f"{path}: the header lacks {missing[0]}; it has {', '.join(header)}")
    tasks, accuracy = [], []
    for number, row in enumerate(rows, start=1):
        if not row["task"].isdecimal():
            raise Refusal(f"{path}, row {number}: task={row['task']!r} is not a task number")
        tasks.append(int(row["task"]))
        accuracy.append([_share(row[name], f"{path}, row {number}: {name}") for name in columns])
    return History(tuple(row["stage"] for row in rows), tuple(tasks), np.array(accuracy))
