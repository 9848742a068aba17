"""A whole recipe: the chain of stages, and the files a run leaves."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.decode import naming_rows
from lifeq_jax.data.tables import task_csvs
from lifeq_jax.metrics.continual import continual_metrics
from lifeq_jax.metrics.layers import by_task, whole_network
from lifeq_jax.models.loading import load_float
from lifeq_jax.models.torch_weights import load_torch
from lifeq_jax.train.build import build_stage, build_world, complete
from lifeq_jax.train.checkpoint import Checkpoints, Progress
from lifeq_jax.train.mesh import is_writer, wait_for_all
from lifeq_jax.train.run_folder import (
    Metrics,
    NoMetrics,
    commit,
    machine,
    only_writer,
    open_run_folder,
    read_metrics,
    write_matrix,
    write_seeds,
    write_summary,
)
from lifeq_jax.train.stage import Log, open_stage, with_seed
from lifeq_jax.train.tasks import as_matrix, run_stage

Weights = tuple[PyTree, PyTree]  # (params, batch_stats)


def run_recipe(recipe: Recipe, folder: str | Path, log: Log = print) -> dict[str, Any]:
    """Trains all stages of `recipe` in run folder `folder` and returns the content of its summary.json.

    A stage that is finished there is skipped, one under way is resumed at its newest checkpoint, and a finished run
    returns at once. Refuses bad settings and data before anything is written; raises Diverged on a loss that is not
    finite. Called by each of several processes, which see one folder, it trains one run, and one of them writes."""
    return _run([_Run(complete(recipe), Path(folder), log)])[0]


def run_seeds(recipe: Recipe, seeds: Sequence[int], folder: str | Path, log: Log = print) -> dict[str, Any]:
    """Trains `recipe` with several seeds side by side, in one program on one device, and returns the content of
    `folder`/seeds.json: mean and sample standard deviation of every metric.

    Seed s has the run folder `folder`/seed<s>, which is as `run_recipe` leaves it and may be resumed by either. Refuses
    a seed that is named twice, and several devices."""
    recipe, folder = complete(recipe), Path(folder)
    if len(set(seeds)) != len(seeds):
        raise Refusal(f"--seeds {','.join(map(str, seeds))} names a seed twice")
    if recipe.parallel != "none":
        raise Refusal(f"--seeds trains on one device, and recipe.parallel={recipe.parallel!r}; choose 'none'")

    def log_of(seed: int) -> Log:
        return lambda line: log(f"seed {seed}  {line}")

    own = [dataclasses.replace(recipe, seed=seed) for seed in seeds]
    summaries = _run([_Run(item, folder / f"seed{item.seed}", log_of(item.seed)) for item in own])
    return write_seeds(folder, summaries)


class _Run(NamedTuple):
    """A recipe of one seed, and where it goes."""

    recipe: Recipe
    folder: Path
    log: Log


def _run(every: Sequence[_Run]) -> list[dict[str, Any]]:
    """Finishes runs that differ in their seeds alone, and returns the content of their summary.json."""
    version = commit()  # of the code that is loaded now, whatever the checkout holds when the run ends
    unfinished = []
    for run in every:
        if not (run.folder / "summary.json").exists():
            unfinished.append(run if is_writer() else run._replace(log=lambda line: None))
            continue
        open_run_folder(run.folder, run.recipe)
        run.log(f"{run.folder} is finished already; nothing to do")
    if unfinished:
        data = unfinished[0].recipe.data
        with naming_rows(task_csvs(Path(data.csv), data.num_tasks, replay=data.replay)):
            finished = _train_stages(unfinished)
        for run, progress in zip(unfinished, finished, strict=True):
            if is_writer():
                _finish(run.recipe, run.folder, progress, version)
        wait_for_all("summary")
    return [json.loads((run.folder / "summary.json").read_text()) for run in every]


def _train_stages(every: Sequence[_Run]) -> list[dict[str, Progress]]:
    recipe = every[0].recipe
    worlds = [build_world(recipe)]
    worlds += [build_world(run.recipe, worlds[0]) for run in every[1:]]
    # built before the folders are made, so that arguments out of range are refused first
    network = build_stage(recipe, recipe.stages[0]).network
    starts = [_given(run.recipe, network.init(run.recipe.seed)) for run in every]
    finished: list[dict[str, Progress]] = [{} for _ in every]
    with ExitStack() as held:
        metrics = []
        for run in every:
            open_run_folder(run.folder, run.recipe)
            held.enter_context(only_writer(run.folder))
            writer = (Metrics if is_writer() else NoMetrics)(run.folder, recipe.data.num_tasks)
            metrics.append(held.enter_context(closing(writer)))
        for number, stage in enumerate(recipe.stages):
            first = open_stage(recipe, number, worlds[0], every[0].folder, metrics[0], every[0].log)
            others = zip(every[1:], worlds[1:], metrics[1:], strict=True)
            stages = [
                first,
                *(with_seed(first, run.recipe, world, run.folder, rows, run.log) for run, world, rows in others),
            ]
            with ExitStack() as opened:
                for item in stages:
                    opened.enter_context(closing(item.checkpoints))
                fresh = [first.built.network.init(run.recipe.seed) for run in every]
                starts = [_carried(*pair) for pair in zip(starts, fresh, strict=True)]
                for own, progress in zip(finished, run_stage(stages, starts), strict=True):
                    own[stage.name] = progress
                starts = [_weights(item.checkpoints) for item in stages]
    return finished


def _weights(checkpoints: Checkpoints) -> Weights:
    network = checkpoints.network()
    return network["params"], network["batch_stats"]


def _given(recipe: Recipe, fresh: Weights) -> Weights:
    """What the recipe starts from, in the structure of `fresh`."""
    path = Path(recipe.start.replace("{seed}", str(recipe.seed)))
    if not recipe.start:
        return fresh
    if path.is_file():
        params, batch_stats = fresh
        loaded = load_torch(recipe.model.name, path, {"params": params, "batch_stats": batch_stats})
        return loaded["params"], loaded["batch_stats"]
    return _carried(latest_weights(path), fresh)


def _carried(old: Weights, fresh: Weights) -> Weights:
    params, batch_stats = (load_float(given, wanted) for given, wanted in zip(old, fresh, strict=True))
    return params, batch_stats


def latest_weights(folder: Path, stage: str | None = None) -> Weights:
    """(params, batch_stats) that a run folder's stage (by default its last) has reached."""
    recipe = read_recipe(folder / "config.json")
    names = [item.name for item in recipe.stages]
    if stage is not None and stage not in names:
        raise Refusal(f"run folder {folder} has no stage {stage!r}; choose from {', '.join(names)}")
    path = folder / "checkpoints" / (stage or names[-1])
    if not path.is_dir():
        raise Refusal(f"{path} does not exist: this stage of the run has not begun")
    with closing(Checkpoints(path)) as checkpoints:
        return _weights(checkpoints)


def _finish(recipe: Recipe, folder: Path, finished: dict[str, Progress], version: str) -> None:
    last = recipe.stages[-1]
    matrix = as_matrix(finished[last.name])
    matrix = matrix[:, : len(matrix)]
    write_matrix(folder, matrix)
    summary = {
        "finished": True,
        "name": recipe.name,
        "seed": recipe.seed,
        "method": recipe.method.name,
        "loss": recipe.loss.name,
        "bits": [last.weight_bits, last.act_bits],
        "metrics": continual_metrics(matrix)
        | {"balanced_accuracy": _balanced_accuracy(folder, len(matrix))}
        | whole_network(by_task(read_metrics(folder / "layers.csv"), last.name).get(len(matrix) - 1, {})),
        "stages": {name: progress.matrix[-1] for name, progress in finished.items()},
        "seconds": round(sum(progress.seconds for progress in finished.values()), 1),
        "method_seconds": round(sum(progress.method_seconds for progress in finished.values()), 1),
        "commit": version,
        "machine": machine(),
    }
    write_summary(folder, summary)


def _balanced_accuracy(folder: Path, tasks: int) -> float:
    last = read_metrics(folder / "metrics.csv")[-1]
    return sum(float(last[f"balanced_accuracy_{task}"]) for task in range(tasks)) / tasks
