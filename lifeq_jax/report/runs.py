"""Finished run folders, read and checked.

A run folder holds config.json (the recipe), metrics.csv (a row for each epoch), accuracy_matrix.csv,
summary.json, weight_distance.csv where weights were tracked, per_class.csv and layers.csv. Accuracies are shares,
0 to 1."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import check_matrix
from lifeq_jax.report.classes import Classes, read_classes
from lifeq_jax.report.history import Distances, History, read_distances, read_history, read_rows, read_shares
from lifeq_jax.report.layers import Layers, read_layers


class Run(NamedTuple):
    """A finished run."""

    folder: Path
    recipe: Recipe
    matrix: np.ndarray  # (T, T) float64, row: after task i, column: on task j
    history: History
    distances: Distances | None  # None: no weight_distance.csv
    classes: Classes | None  # None: no per_class.csv
    layers: Layers  # of the last stage; {}: the method measures none
    stages: dict[str, tuple[float, ...]]  # accuracy on each task at the end of each stage
    seconds: float
    commit: str
    machine: str


def run_folders(folder: Path) -> list[Path]:
    """`folder` itself, or, of what `train --seeds` has written, the run folder of every seed."""
    return sorted(folder.glob("seed[0-9]*")) if (folder / "seeds.json").exists() else [folder]


def read_run(folder: str | Path) -> Run:
    """Reads a run folder. Refuses, naming the file, what is missing, damaged or not finished."""
    folder = Path(folder)
    recipe = read_recipe(folder / "config.json")
    summary = _read_summary(folder / "summary.json")
    matrix = _read_matrix(folder / "accuracy_matrix.csv")
    return Run(
        folder=folder,
        recipe=recipe,
        matrix=matrix,
        history=read_history(folder / "metrics.csv"),
        distances=read_distances(folder / "weight_distance.csv"),
        classes=read_classes(folder / "per_class.csv", recipe, len(matrix)),
        layers=read_layers(folder / "layers.csv", recipe, len(matrix)),
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


def _read_matrix(path: Path) -> np.ndarray:
    header, rows = read_rows(path)
    needed = [f"task_{task}" for task in range(len(rows))]
    if header != needed:
        raise Refusal(f"{path}: {len(rows)} rows need the header {','.join(needed)}, not {','.join(header)}")
    matrix = read_shares(path, rows, header)
    try:
        return check_matrix(matrix)
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from None
