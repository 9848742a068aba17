"""A whole recipe: the chain of stages, and the files a run leaves."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.decode import naming_rows
from lifeq_jax.data.tables import task_csvs
from lifeq_jax.metrics.continual import continual_metrics
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
    write_summary,
)
from lifeq_jax.train.tasks import Log, as_matrix, open_stage, run_stage

Weights = tuple[PyTree, PyTree]  # (params, batch_stats)


def run_recipe(recipe: Recipe, folder: str | Path, log: Log = print) -> dict[str, Any]:
    """Trains all stages of `recipe` in run folder `folder` and returns the content of its summary.json.

    A stage that is finished there is skipped, one under way is resumed at its newest checkpoint, and a finished run
    returns at once. Refuses bad settings and data before anything is written; raises Diverged on a loss that is not
    finite. Called by each of several processes, which see one folder, it trains one run, and one of them writes."""
    recipe, folder = complete(recipe), Path(folder)
    if (folder / "summary.json").exists():
        open_run_folder(folder, recipe)
        log(f"{folder} is finished already; nothing to do")
        return json.loads((folder / "summary.json").read_text())
    version = commit()  # of the code that is loaded now, whatever the checkout holds when the run ends
    data = recipe.data
    with naming_rows(task_csvs(Path(data.csv), data.num_tasks, replay=data.replay)):
        finished = _train_stages(recipe, folder, log if is_writer() else lambda line: None)
    if is_writer():
        _finish(recipe, folder, finished, version)
    wait_for_all("summary")
    return json.loads((folder / "summary.json").read_text())


def _train_stages(recipe: Recipe, folder: Path, log: Log) -> dict[str, Progress]:
    world = build_world(recipe)
    # built before the folder is made, so that arguments out of range are refused first
    start = _given(recipe, build_stage(recipe, recipe.stages[0]).network.init(recipe.seed))
    open_run_folder(folder, recipe)
    metrics = (Metrics if is_writer() else NoMetrics)(folder, recipe.data.num_tasks)
    finished: dict[str, Progress] = {}
    with only_writer(folder), closing(metrics):
        for number, stage in enumerate(recipe.stages):
            run = open_stage(recipe, number, world, folder, metrics, log)
            with closing(run.checkpoints):
                start = _carried(start, run.built.network.init(recipe.seed))
                finished[stage.name] = run_stage(run, *start)
                start = _weights(run.checkpoints)
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
        "metrics": continual_metrics(matrix) | {"balanced_accuracy": _balanced_accuracy(folder, len(matrix))},
        "stages": {name: progress.matrix[-1] for name, progress in finished.items()},
        "seconds": round(sum(progress.seconds for progress in finished.values()), 1),
        "commit": version,
        "machine": machine(),
    }
    write_summary(folder, summary)


def _balanced_accuracy(folder: Path, tasks: int) -> float:
    last = read_metrics(folder / "metrics.csv")[-1]
    return sum(float(last[f"balanced_accuracy_{task}"]) for task in range(tasks)) / tasks
