"""How long a recipe trains until it reaches an accuracy."""

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.timing import BenchmarkResult, load, surroundings
from lifeq_jax.core.config import Recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.run import run_recipe
from lifeq_jax.train.stage import Moment


class Seen(NamedTuple):
    """An epoch after which the network was evaluated."""

    stage: str
    epochs: int  # of the stage, over all its tasks
    seconds: float  # since the start of the run
    accuracy: float  # %, mean over all tasks
    images_per_second: float  # of training


def bench_goal(recipe: Recipe, accuracy: float) -> BenchmarkResult:
    """Epochs and seconds until a run of the recipe has `accuracy` % on the images that it is evaluated on, the mean
    over tasks, in each of its stages; empty where a stage does not reach it.

    Seconds count from the start of the run: reading images, compilation, evaluation and earlier stages are in them.
    The run goes on to its end whatever it reaches. Refuses an accuracy outside 0 to 100."""
    if not 0 <= accuracy <= 100:
        raise Refusal(f"accuracy={accuracy:g} is out of range; choose from 0 to 100 %")
    seen: list[Seen] = []
    epochs = dict.fromkeys((stage.name for stage in recipe.stages), 0)
    before, begin = load(), time.perf_counter()

    def watch(moment: Moment) -> None:
        if moment.kind != "epoch":
            return
        row, stage = moment.row, str(moment.row["stage"])
        epochs[stage] += 1
        scores = [float(value) for name, value in row.items() if name.startswith("accuracy_")]
        if scores:
            found = 100 * statistics.mean(scores)
            seen.append(Seen(stage, epochs[stage], time.perf_counter() - begin, found, float(row["images_per_second"])))

    with tempfile.TemporaryDirectory() as folder:
        run_recipe(recipe, Path(folder), partial(print, file=sys.stderr), watch)
    return BenchmarkResult(
        f"time to {accuracy:g} %, {recipe.name}",
        {"seed": recipe.seed, "batch_size": recipe.data.batch_size},
        columns(seen, accuracy),
        {},
        surroundings(before),
    )


def columns(seen: list[Seen], accuracy: float) -> dict[str, dict[str, float]]:
    """What `bench_goal` tells of each stage."""
    stages = {one.stage: [each for each in seen if each.stage == one.stage] for one in seen}
    reached = {
        stage: first
        for stage, own in stages.items()
        if (first := next((one for one in own if one.accuracy >= accuracy), None))
    }
    return {
        "best_accuracy": {stage: max(one.accuracy for one in own) for stage, own in stages.items()},
        "epochs_to_goal": {stage: one.epochs for stage, one in reached.items()},
        "seconds_to_goal": {stage: one.seconds for stage, one in reached.items()},
        "images_per_second": {
            stage: statistics.median(one.images_per_second for one in own) for stage, own in stages.items()
        },
    }
