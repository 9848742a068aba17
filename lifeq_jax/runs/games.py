"""Reads and checks finished runs on games. Returns are sums of rewards without clipping."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import LAYERS, METRICS, game_columns, matrix_columns
from lifeq_jax.runs.folder import CONFIG, RETURN_MATRIX, read_summary, seed_folders, status
from lifeq_jax.runs.layers import Layers, read_layers
from lifeq_jax.runs.rows import read_table, read_whole_numbers


class GameHistory(NamedTuple):
    """The N rows of metrics.csv of the last stage, in the order they were written."""

    task: np.ndarray  # (N,) int, the game that was learned
    env_steps: np.ndarray  # (N,) int, steps of play in it so far
    returns: np.ndarray  # (N,) float64, mean of the games that ended in the epoch; NaN: none did
    steps_per_second: np.ndarray  # (N,) float64
    parts: np.ndarray  # (N, 3) float64, seconds of acting, waiting for the game, learning; NaN: one program did all


class GameRun(NamedTuple):
    """A finished run."""

    folder: Path
    recipe: GameRecipe
    names: tuple[str, ...]  # of the T games of the last stage
    matrix: np.ndarray  # (T, T) float64, row: after game i, column: mean return in game j
    errors: np.ndarray  # (T, T) float64, standard errors of the same
    chance: np.ndarray  # (T, 2) float64, mean return of an agent that acts at random, and its standard error
    learning: GameHistory
    layers: Layers  # {}: the method measures none
    seconds: float
    method_seconds: float
    commit: str
    machine: str


def read_game_runs(folders: Sequence[Path]) -> tuple[list[GameRun], list[tuple[Path, str]]]:
    """The finished runs of `folders`, each a run folder or one of seeds; and the others, each with its `status`.

    Raises:
        Refusal: of `read_game_run`; or no run is finished."""
    runs, others = [], []
    for folder in (run for given in folders for run in seed_folders(given).values() or [given]):
        if (found := status(folder)) == "finished":
            runs.append(read_game_run(folder))
        else:
            others.append((folder, found))
    if not runs:
        raise Refusal(f"no run is finished: {', '.join(f'{folder} ({found})' for folder, found in others)}")
    return runs, others


def read_game_run(folder: str | Path) -> GameRun:
    """Reads the folder of a finished run.

    Raises:
        Refusal: names the file that is missing or damaged, or says that the run is not finished or on images."""
    folder = Path(folder)
    recipe = read_any(folder / CONFIG)
    if not isinstance(recipe, GameRecipe):
        raise Refusal(f"{folder} is no run on games")
    summary = read_summary(folder)
    number = recipe.stages[-1].tasks or len(recipe.games.names)
    return GameRun(
        folder=folder,
        recipe=recipe,
        names=recipe.games.names[:number],
        matrix=read_returns(folder),
        errors=_array(folder, summary, "errors", (number, number)),
        chance=_array(folder, summary, "random", (number, 2)),
        learning=_read_learning(folder / METRICS, recipe),
        layers=read_layers(folder / LAYERS, recipe, number),
        seconds=summary["seconds"],
        method_seconds=float(summary.get("method_seconds", math.nan)),
        commit=summary["commit"],
        machine=summary["machine"],
    )


def read_returns(folder: Path) -> np.ndarray:
    """The matrix (T, T) of mean returns of a finished run; row: after game i, column: in game j.

    Raises:
        Refusal: the file is missing or damaged."""
    path = folder / RETURN_MATRIX
    number = len(read_summary(folder).get("games", ()))
    columns = matrix_columns(number)
    rows = read_table(path, columns, least=0)
    if len(rows) != number:
        raise Refusal(f"{path} has {len(rows)} rows; the run has {number} games")
    return np.array([[_number(path, at, row, name, empty=False) for name in columns] for at, row in _rows(rows)])


def _array(folder: Path, summary: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        found = np.array(summary.get(key), np.float64)
    except (TypeError, ValueError):
        found = np.array(math.nan)
    if found.shape != shape or not np.isfinite(found).all():
        raise Refusal(f"{folder / 'summary.json'}: {key} is not {shape[0]} lists of {shape[1]} numbers")
    return found


def _read_learning(path: Path, recipe: GameRecipe) -> GameHistory:
    rows = read_table(path, game_columns(len(recipe.games.names))[METRICS])
    rows = [row for row in rows if row["stage"] == recipe.stages[-1].name]
    if not rows:
        raise Refusal(f"{path} has no rows of stage {recipe.stages[-1].name}")

    def column(name: str) -> np.ndarray:
        return np.array([_number(path, at, row, name, empty=True) for at, row in _rows(rows)])

    parts = [column(name) for name in ("acting_seconds", "waiting_seconds", "learning_seconds")]
    return GameHistory(
        task=np.array(read_whole_numbers(path, rows, "task")),
        env_steps=np.array(read_whole_numbers(path, rows, "env_steps")),
        returns=column("return"),
        steps_per_second=column("steps_per_second"),
        parts=np.stack(parts, axis=1),
    )


def _rows(rows: list[dict[str, str]]) -> Sequence[tuple[int, dict[str, str]]]:
    return list(enumerate(rows, start=1))


def _number(path: Path, at: int, row: dict[str, str], name: str, empty: bool) -> float:
    """A finite number; NaN for an empty cell, if it may be `empty`."""
    text = row[name]
    if empty and not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Refusal(f"{path}, row {at}: {name}={text!r} is not a finite number")
    return value
