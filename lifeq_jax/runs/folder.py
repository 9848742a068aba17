"""A run folder as a whole: its recipe, its only writer, its summary; and the folder of several seeds."""

import dataclasses
import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from lifeq_jax.core.config import Recipe, flatten, to_json
from lifeq_jax.core.files import read_json, write_whole
from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import mean_and_std
from lifeq_jax.runs.columns import matrix_columns

CONFIG, SUMMARY, MATRIX, RETURN_MATRIX, DIVERGED, SEEDS = (
    "config.json",
    "summary.json",
    "accuracy_matrix.csv",
    "return_matrix.csv",
    "diverged.json",
    "seeds.json",
)


def open_run_folder(folder: Path, recipe: Recipe | GameRecipe, writes: bool = True) -> None:
    """Makes the folder and writes config.json, if this process `writes` and the folder has none.

    Raises:
        Refusal: the folder belongs to another recipe, or cannot be written. A recipe that only has more epochs is no
            other; train/longer.py writes it."""
    config = folder / CONFIG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.exists():
            _refuse_other_recipe(config, recipe)
            return
    except OSError as error:
        raise Refusal(f"run folder {folder} cannot be written: {error.strerror}") from None
    if writes:
        write_whole(config, to_json(recipe))


def _refuse_other_recipe(config: Path, recipe: Recipe | GameRecipe) -> None:
    found = read_any(config)
    before, now = (flatten(json.loads(to_json(one))) for one in (found, recipe))
    if longer_stages(found, recipe):
        return
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise Refusal(
                f"run folder {config.parent} belongs to a recipe with {key}={before.get(key)!r}, "
                f"this one has {now.get(key)!r}; choose another --run folder"
            )


def longer_stages(before: Recipe | GameRecipe, recipe: Recipe | GameRecipe) -> tuple[int, ...]:
    """The numbers of the stages of which `recipe` wants more epochs than `before`, where the two differ in nothing
    else; else ()."""
    if len(before.stages) != len(recipe.stages):
        return ()
    pairs = list(zip(before.stages, recipe.stages, strict=True))
    raised = tuple(dataclasses.replace(old, epochs=max(old.epochs, new.epochs)) for old, new in pairs)
    if dataclasses.replace(before, stages=raised) != recipe:
        return ()
    return tuple(number for number, (old, new) in enumerate(pairs) if new.epochs > old.epochs)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Locks the folder for this run while the block runs; the system unlocks it if the process is killed.

    Raises:
        Refusal: another run holds it."""
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Refusal(f"run folder {folder} is being written by another process") from None
    try:
        yield
    finally:
        lock.release()


def write_summary(folder: Path, summary: Mapping[str, Any], matrix: np.ndarray, name: str = MATRIX) -> None:
    """Writes matrix (T, T) to the file `name`, then summary.json, which marks the run as finished."""
    lines = [",".join(matrix_columns(matrix.shape[1]))]
    lines += [",".join(repr(float(value)) for value in row) for row in matrix]
    write_whole(folder / name, "\n".join(lines) + "\n")
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2))
    (folder / DIVERGED).unlink(missing_ok=True)


def write_diverged(folder: Path, reason: str) -> None:
    """Writes diverged.json, the reason why the run stopped; it is deleted when the run finishes."""
    write_whole(folder / DIVERGED, json.dumps({"reason": reason}, indent=2))


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of a finished run's summary.json.

    Raises:
        Refusal: the file is missing or damaged, or does not say that the run is finished."""
    path = folder / SUMMARY
    summary = read_json(path, f"{folder} is not a finished run")
    if not isinstance(summary, dict) or summary.get("finished") is not True:
        raise Refusal(f"{path} does not say finished: true; {folder} is not a finished run")
    for key, kind in SUMMARY_KEYS.items():
        if not isinstance(summary.get(key), kind):
            raise Refusal(f"{path}: {key}={reprlib.repr(summary.get(key))} is missing or of another type")
    if not _is_number(summary["seconds"], 0, 1e12):
        raise Refusal(f"{path}: seconds={summary['seconds']!r} is not a time")
    _check_numbers(path, summary, RETURNS if "games" in summary else ACCURACIES)
    return summary


class _Limits(NamedTuple):
    metrics: tuple[float, float]
    what: str
    stages: tuple[float, float]


ACCURACIES = _Limits((-1, 1), "accuracies", (0, 1))
RETURNS = _Limits((-1e15, 1e15), "returns", (-1e15, 1e15))


def _check_numbers(path: Path, summary: Mapping[str, Any], limits: _Limits) -> None:
    for name, value in summary["metrics"].items():
        if not _is_number(value, *limits.metrics):
            between = "{:g} to {:g}".format(*limits.metrics)
            raise Refusal(f"{path}: metrics.{name}={reprlib.repr(value)} is not a number from {between}")
    for name, values in summary["stages"].items():
        if not isinstance(values, list) or not all(_is_number(value, *limits.stages) for value in values):
            between = "{:g} to {:g}".format(*limits.stages)
            shown = reprlib.repr(values)
            raise Refusal(f"{path}: stages.{name}={shown} is not a list of {limits.what} from {between}")


SUMMARY_KEYS = {
    "name": str,
    "seed": int,
    "metrics": dict,
    "stages": dict,
    "seconds": int | float,
    "commit": str,
    "machine": str,
}


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def status(folder: Path) -> str:
    """'finished', 'diverged: <why>' or 'unfinished'."""
    if (folder / SUMMARY).exists():
        return "finished"
    path = folder / DIVERGED
    if not path.exists():
        return "unfinished"
    content = read_json(path, "it vanished")
    if not isinstance(content, dict) or not isinstance(content.get("reason"), str):
        raise Refusal(f"{path} does not hold the reason why the run stopped")
    return f"diverged: {content['reason']}"


def seed_folders(folder: Path) -> dict[int, Path]:
    """The run folders seed<N> under `folder`, by seed in ascending order; {} where there are none."""
    found = {
        int(match[1]): path
        for path in folder.glob("seed*")
        if (match := re.fullmatch("seed(0|[1-9][0-9]*)", path.name))
    }
    return {seed: found[seed] for seed in sorted(found) if (found[seed] / CONFIG).exists()}


def refuse_other_seeds(folder: Path, recipe: Recipe | GameRecipe, trained: Sequence[int] = ()) -> None:
    """Refuses a run of `seed_folders(folder)` that differs from the recipe in more than the seed, or, for the seeds to
    be `trained`, in more than the seed and fewer epochs."""
    for seed, path in seed_folders(folder).items():
        before, own = read_any(path / CONFIG), dataclasses.replace(recipe, seed=seed)
        if before != own and not (seed in trained and longer_stages(before, own)):
            raise Refusal(f"{path} belongs to another recipe than seed {recipe.seed}; choose another --run folder")


def write_seeds(folder: Path) -> dict[str, Any]:
    """Writes seeds.json about all runs of `seed_folders(folder)` and returns its content: for finished runs `seeds` and
    the mean and sample standard deviation `std` (None for one seed) of every metric; for the others `unfinished`,
    {seed: status}.

    Raises:
        Refusal: the runs differ in more than the seed."""
    found = seed_folders(folder)
    recipe = read_any(next(iter(found.values())) / CONFIG)
    refuse_other_seeds(folder, recipe)
    summaries = {seed: read_summary(path) for seed, path in found.items() if status(path) == "finished"}
    names = _metric_names({found[seed]: summary for seed, summary in summaries.items()})
    spread = {name: mean_and_std([summary["metrics"][name] for summary in summaries.values()]) for name in names}
    content = {
        "name": recipe.name,
        "seeds": list(summaries),
        "metrics": {
            name: {"mean": mean, "std": None if np.isnan(std) else std} for name, (mean, std) in spread.items()
        },
        "unfinished": {str(seed): status(path) for seed, path in found.items() if seed not in summaries},
    }
    write_whole(folder / SEEDS, json.dumps(content, indent=2))
    return content


def _metric_names(summaries: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """The metrics that the summaries have, which must be the same in all."""
    names = [list(summary["metrics"]) for summary in summaries.values()]
    for folder, one in zip(summaries, names, strict=True):
        if set(one) != set(names[0]):
            raise Refusal(
                f"{folder / SUMMARY}: the metrics are {', '.join(one)}; another seed has {', '.join(names[0])}"
            )
    return names[0] if names else []
