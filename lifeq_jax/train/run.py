"""A run: a recipe of one seed, from its data to its summary."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.data.tables import naming_rows, task_csvs
from lifeq_jax.metrics.continual import continual_metrics, fwt
from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.models.torch_weights import load_torch
from lifeq_jax.runs.columns import file_columns
from lifeq_jax.runs.folder import (
    CONFIG,
    longer_stages,
    only_writer,
    open_run_folder,
    read_summary,
    status,
    write_diverged,
    write_summary,
)
from lifeq_jax.runs.provenance import commit, machine
from lifeq_jax.runs.write import RunFiles
from lifeq_jax.train.build import complete
from lifeq_jax.train.checkpoint import Progress
from lifeq_jax.train.identity import keep_identity
from lifeq_jax.train.longer import OF_IMAGES, go_on_longer
from lifeq_jax.train.mesh import is_writer, wait_for_all
from lifeq_jax.train.reached import notes, reached
from lifeq_jax.train.size import network_size, peak_megabytes
from lifeq_jax.train.stage import Answer, Ask, Compiled, Log, Moment, Seed, Watch, compile_stage
from lifeq_jax.train.tasks import Weights, carried, train_run
from lifeq_jax.train.world import RecipeFiles, World, make_world, read_source


def unwatched(moment: Moment) -> None:
    """The default `watch`: does nothing."""


def run_recipe(recipe: Recipe, folder: str | Path, log: Log = print, watch: Watch = unwatched) -> dict[str, Any]:
    """Trains all stages of a recipe.

    A run that was stopped resumes at its newest checkpoint, and a finished one returns at once. If several processes
    with a common folder call it, they train one run together, and one of them writes.

    Args:
        recipe: what to train.
        folder: the run folder; docs/formats.md says what it holds.
        log: gets a line of text after every epoch.
        watch: is called after every epoch, task and checkpoint with a `Moment`, whose arrays are valid until it
            returns.

    Returns:
        The content of the run's summary.json.

    Raises:
        Refusal: bad settings or data; nothing has been written then. Or a folder that belongs to another recipe.
        Diverged: numbers became infinite or NaN. The newest checkpoint holds none."""
    recipe, folder = complete(recipe), Path(folder)
    if is_finished(folder, recipe, log):
        return read_summary(folder)
    with naming_rows(csvs(recipe)):
        source = read_source(recipe)
        world = make_world(recipe, source)
        stages = compile_stages(recipe, world)
        said = log if is_writer() else lambda line: None
        return alone(whole_run(recipe, folder, source, world, stages, said, watch))


def alone(run: Generator[Any, Answer, Any]) -> Any:
    """Answers everything that one run asks for; returns its result."""
    answer, began = None, perf_counter()
    with closing(run):
        while True:
            try:
                ask = run.send(answer)
            except StopIteration as end:
                return end.value
            result = ask.compute()
            answer, began = (result, perf_counter() - began), perf_counter()


def is_finished(folder: Path, recipe: Recipe | GameRecipe, log: Log) -> bool:
    """Whether the folder holds the finished run of this recipe, which is logged; not where more epochs are wanted.
    Refuses one of another recipe."""
    if status(folder) != "finished":
        return False
    open_run_folder(folder, recipe, writes=is_writer())
    if longer_stages(read_any(folder / CONFIG), recipe):
        return False
    log(f"{folder} is finished already; nothing to do")
    return True


def csvs(recipe: Recipe) -> tuple[Path, ...]:
    """The CSV files that the recipe reads."""
    return task_csvs(Path(recipe.data.csv), recipe.data.num_tasks, replay=recipe.data.replay)


def compile_stages(recipe: Recipe, world: World) -> list[Compiled]:
    """All stages of a recipe. Refuses arguments out of range now; functions are compiled at their first call."""
    return [compile_stage(recipe, number, world) for number in range(len(recipe.stages))]


def whole_run(
    recipe: Recipe, folder: Path, source: RecipeFiles, world: World, stages: Sequence[Compiled], log: Log, watch: Watch
) -> Generator[Ask, Answer, dict[str, Any]]:
    """One seed's run, from its start weights to its summary.json, whose content it returns."""
    version = commit()  # now, since the checkout may have changed when the run ends
    start = start_weights(recipe, stages[0].built.network.init(recipe.seed), log)
    open_run_folder(folder, recipe, writes=is_writer())
    wait_for_all("config.json")  # which only one of them has written
    with ExitStack() as held:
        if is_writer():
            held.enter_context(only_writer(folder))
        keep_identity(folder, recipe, source, start)
        files = held.enter_context(closing(RunFiles(folder, file_columns(recipe.data.num_tasks), writes=is_writer())))
        seed = Seed(recipe, world, folder, files, log, watch)
        go_on_longer(seed, [stage.built.method for stage in stages], OF_IMAGES)
        try:
            progress = yield from train_run(seed, stages, start)
        except Diverged as error:
            if is_writer():
                write_diverged(folder, str(error))
            raise
        if is_writer():
            _finish(recipe, folder, progress, version)
        wait_for_all("summary")
    return read_summary(folder)


def start_weights(recipe: Recipe, fresh: Weights, log: Log) -> Weights:
    """What the recipe starts from, in the structure of `fresh`."""
    path = Path(recipe.start.replace("{seed}", str(recipe.seed)))
    if not recipe.start:
        return fresh
    if path.is_file():
        params, batch_stats = fresh
        loaded = load_torch(recipe.model.name, path, {"params": params, "batch_stats": batch_stats})
        return loaded["params"], loaded["batch_stats"]
    with reached(path) as checkpoints:
        for note in notes(checkpoints):
            log(note)
        return carried(checkpoints.weights(), fresh)


def _finish(recipe: Recipe, folder: Path, progress: Progress, version: str) -> None:
    last, matrix = recipe.stages[-1], np.array(progress.matrix)
    matrix = matrix[:, : len(matrix)]
    summary = {
        "finished": True,
        "name": recipe.name,
        "seed": recipe.seed,
        "method": recipe.method.name,
        "loss": recipe.loss.name,
        "bits": [last.weight_bits, last.act_bits],
        "metrics": continual_metrics(matrix)
        | {"fwt": fwt(matrix, progress.untrained[: len(matrix)])}
        | {"balanced_accuracy": float(np.mean(progress.balanced[: len(matrix)]))}
        | whole_network(progress.layers),
        "stages": progress.stages,
        "untrained": progress.untrained,
        "seconds": round(progress.seconds, 1),
        "method_seconds": round(progress.method_seconds, 1),
        "peak_megabytes": round(peak_megabytes(), 1),
        "network": network_size(recipe, last),
        "commit": version,
        "machine": machine(),
    }
    write_summary(folder, summary, matrix)
