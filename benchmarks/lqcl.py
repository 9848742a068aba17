"""The benchmark lqcl: settings of every row searched on validation images, then measured once on test images."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import lifeq_jax as lq
from benchmarks.lqcl_data import FOLDER, SEQUENCES, few_shot_classes, prepare_sequence
from benchmarks.lqcl_rows import RATE, ROWS, row_recipe
from benchmarks.lqcl_table import tables
from lifeq_jax import Part, Recipe
from lifeq_jax.api.cells import value_of
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.metrics.continual import continual_metrics
from lifeq_jax.runs.provenance import commit, machine
from lifeq_jax.runs.read import Run

RUNS = Path("runs/lqcl")
SEARCH_SEEDS = (10,)  # none of the seeds that are measured
TRIALS = {"best": 30}  # of the rows that search more than a rate and strengths
METRICS = ("average_accuracy", "learning_accuracy", "forgetting")


def run_lqcl(
    sequences: Sequence[str] | None,
    rows: Sequence[str] | None,
    seeds: Sequence[int],
    trials: int,
    bits: int,
    out: Path,
) -> str:
    """Completes rows of sequences (None: all), each in a file of the folder `out`; returns all tables as Markdown.

    What the files hold is not done again. Several processes share the rows. Refuses unknown names."""
    for name in sequences or ():
        lookup(SEQUENCES, name, "sequence")
    for name in rows or ():
        lookup(ROWS, name, "row")
    for sequence in sequences or SEQUENCES:
        prepare_sequence(sequence)
        recipe = lq.load_recipe(f"benchmark/{sequence}")
        for row in rows or ROWS:
            try:
                with FileLock(FOLDER / f".{sequence}-{row}.lock", timeout=0):
                    complete_row(out / sequence / f"{row}.json", recipe, row, bits, seeds, trials)
            except Timeout:
                print(f"{recipe.name}, {row}: another process works on it", flush=True)
    return tables(out)


def complete_row(file: Path, recipe: Recipe, row: str, bits: int, seeds: Sequence[int], trials: int) -> None:
    """Searches the settings of a row of a sequence, at 4 bits, and measures its seeds at `bits`, unless the file says
    that this was done."""
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"runs": []}
    folder = RUNS / recipe.name / row
    if "search" not in known:
        space = {**RATE, **ROWS[row].space}
        found = lq.search(
            row_recipe(recipe, row), space, folder / "search", trials=TRIALS.get(row, trials), seeds=SEARCH_SEEDS
        )
        known["search"] = _record(found)
        _write(file, known)
    there = {run["seed"] for run in known["runs"] if run["bits"] == bits}
    left = [seed for seed in seeds if seed not in there]
    if left:
        final = row_recipe(recipe, row, bits)
        chosen = {key: value_of(final, key, _part(value)) for key, value in known["search"]["values"].items()}
        final = final.replace({**chosen, "data.validation": 0.0})
        known["runs"] += _measure(final, folder / f"{bits}bit", few_shot_classes(recipe.data), bits, left)
        known["runs"].sort(key=lambda run: (-run["bits"], run["seed"]))
        _write(file, known)
        print(f"{recipe.name}, {row}: {_told(known['runs'], bits)}", flush=True)


def _record(found: lq.Search) -> dict[str, Any]:
    said = {"seeds": SEARCH_SEEDS, "commit": commit(), "machine": machine()}
    tried = [{key: _plain(value) for key, value in trial.items()} for trial in found.trials]
    return {"values": {key: _plain(value) for key, value in found.values.items()}, **said, "trials": tried}


def _measure(recipe: Recipe, folder: Path, few: np.ndarray, bits: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    try:
        runs = lq.train(recipe, folder, seeds=seeds, log=lambda line: None)
    except Diverged as error:
        return [{"bits": bits, "seed": seed, "status": f"diverged: {error}"} for seed in seeds]
    lost = [{"bits": bits, "seed": _seed(place), "status": status} for place, status in runs.others]
    return [*(_numbers(run, bits, few) for run in runs.finished), *lost]


def _numbers(run: Run, bits: int, few: np.ndarray) -> dict[str, Any]:
    metrics = continual_metrics(run.matrix)
    correct, images = run.classes.correct.sum(0)[few], run.classes.images.sum(0)[few]
    return {
        "bits": bits,
        "seed": run.recipe.seed,
        "status": "finished",
        **{name: metrics[name] for name in METRICS},
        "few_shot": float(np.mean(correct / images)) if len(few) else None,
        "bytes": run.network.bytes,
        "seconds": run.seconds,
        "commit": run.commit,
    }


def _seed(folder: Path) -> int:
    return int(folder.name.removeprefix("seed"))


def _told(runs: Sequence[Mapping[str, Any]], bits: int) -> str:
    done = [run["average_accuracy"] for run in runs if run["bits"] == bits and run["status"] == "finished"]
    return f"{bits} bits, average accuracy {100 * np.mean(done):.2f} % of {len(done)} seeds" if done else "diverged"


def _plain(value: Any) -> Any:
    """As JSON; a Part, a name or (name, arguments) of a table's row as an object."""
    if isinstance(value, tuple) and not isinstance(value, Part):
        value = Part(*value)
    return {"name": value.name, "args": dict(value.args)} if isinstance(value, Part) else value


def _part(value: Any) -> Any:
    return Part(value["name"], value["args"]) if isinstance(value, dict) else value


def _write(file: Path, known: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(known, indent=1) + "\n")
