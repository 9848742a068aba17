"""Reads and checks finished run folders. Accuracies are shares, 0 to 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import check_matrix
from lifeq_jax.runs.classes import Classes, read_classes, read_confusion
from lifeq_jax.runs.columns import CLASSES, CONFUSION, DISTANCES, LAYERS, METRICS, matrix_columns
from lifeq_jax.runs.folder import CONFIG, MATRIX, SUMMARY, read_summary, seed_folders, status
from lifeq_jax.runs.history import Distances, History, read_distances, read_history
from lifeq_jax.runs.layers import Layers, read_layers
from lifeq_jax.runs.rows import read_shares, read_table
from lifeq_jax.runs.size import Size, read_size


class Run(NamedTuple):
    """A finished run."""

    folder: Path
    recipe: Recipe
    matrix: np.ndarray  # (T, T) float64 of the T tasks of the last stage, row: after task i, column: on task j
    history: History
    distances: Distances
    classes: Classes
    confusion: np.ndarray  # (K, K) int64 at the end of the last stage, over its tasks; row: the true class
    layers: Layers  # of the last stage; {}: the method measures none
    stages: dict[str, tuple[float, ...]]  # accuracy on each task at the end of each stage
    network: Size
    seconds: float
    commit: str
    machine: str


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[tuple[Path, str]]]:
    """The finished runs of `folders`, each a run folder or one of seeds; and the others, each with its `status`.

    Raises:
        Refusal: of `read_run`; or no run is finished."""
    runs, others = [], []
    for folder in (run for given in folders for run in seed_folders(given).values() or [given]):
        read_recipe(folder / CONFIG)  # refuses a folder that is not a run folder
        if (found := status(folder)) == "finished":
            runs.append(read_run(folder))
        else:
            others.append((folder, found))
    if not runs:
        said = ", ".join(f"{folder} ({found})" for folder, found in others)
        raise Refusal(f"no run is finished: {said}" if others else "no run folder was given; name at least one")
    return runs, others


def read_run(folder: str | Path) -> Run:
    """Reads the folder of a finished run.

    Raises:
        Refusal: names the file that is missing or damaged, or says that the run is not finished."""
    folder = Path(folder)
    recipe = read_recipe(folder / CONFIG)
    summary = read_summary(folder)
    tasks = _last_tasks(recipe)
    return Run(
        folder=folder,
        recipe=recipe,
        matrix=read_matrix(folder, recipe),
        history=read_history(folder / METRICS, recipe.data.num_tasks),
        distances=read_distances(folder / DISTANCES),
        classes=read_classes(folder / CLASSES, recipe, tasks),
        confusion=read_confusion(folder / CONFUSION, recipe, tasks),
        layers=read_layers(folder / LAYERS, recipe, tasks),
        stages={name: tuple(accuracies) for name, accuracies in summary["stages"].items()},
        network=read_size(folder / SUMMARY, summary),
        seconds=summary["seconds"],
        commit=summary["commit"],
        machine=summary["machine"],
    )


def _last_tasks(recipe: Recipe) -> int:
    return recipe.stages[-1].tasks or recipe.data.num_tasks


def read_matrix(folder: Path, recipe: Recipe) -> np.ndarray:
    """The accuracy matrix (T, T) of a finished run, shares; row: after task i, column: on task j.

    Raises:
        Refusal: the file is missing or damaged."""
    path, tasks = folder / MATRIX, _last_tasks(recipe)
    columns = matrix_columns(tasks)
    rows = read_table(path, columns, least=0)
    if len(rows) != tasks:
        raise Refusal(f"{path} has {len(rows)} rows; the last stage of the recipe has {tasks} tasks")
    matrix = read_shares(path, rows, columns)
    try:
        return check_matrix(matrix)
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from None
