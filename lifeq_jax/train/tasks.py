"""The sequence: a stage over its tasks, resumable at every checkpoint."""

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.tables import concat_rows
from lifeq_jax.methods.base import TaskEnd
from lifeq_jax.metrics.classify import balanced_accuracy
from lifeq_jax.metrics.oscillation import Oscillations, oscillations
from lifeq_jax.train.bn_stats import make_reestimate
from lifeq_jax.train.build import Built, World, build_stage
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.checkpoint import Checkpoints, Progress
from lifeq_jax.train.loop import (
    Advance,
    Place,
    Scorer,
    accuracy_of,
    batches,
    make_advance,
    make_scorer,
    score_rows,
    train_epoch,
    training_images,
)
from lifeq_jax.train.per_class import class_rows
from lifeq_jax.train.run_folder import Metrics
from lifeq_jax.train.step import Score, TrainState, make_step

Log = Callable[[str], None]


class Best(NamedTuple):
    """What the task under way would end with: () until selection keeps something."""

    params: PyTree
    batch_stats: PyTree


class Saved(NamedTuple):
    """The arrays of a checkpoint."""

    state: TrainState
    best: Best | tuple[()]

    def save(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Writes a checkpoint."""
        network = {name: getattr(self.state, name) for name in ("params", "batch_stats")}
        checkpoints.save(network, self._training(), progress)

    def restore(self, checkpoints: Checkpoints) -> "Saved":
        """The newest checkpoint, in the structure of this one."""
        training = checkpoints.training(self._training())
        state = self.state._replace(**checkpoints.network(), **training["state"])
        return Saved(state, training["best"])

    def _training(self) -> PyTree:
        rest = {name: leaf for name, leaf in self.state._asdict().items() if name not in ("params", "batch_stats")}
        return {"state": rest, "best": self.best}


class StageRun(NamedTuple):
    """A stage under way: its objects, and where it reads and writes."""

    recipe: Recipe
    number: int  # of the stage, from 0
    stage: Stage
    world: World
    built: Built
    advance: Advance
    scorer: Scorer
    reestimate: Callable[[PyTree, Iterable[jax.Array]], PyTree]  # (params, images) -> batch_stats
    measure: Callable[[PyTree, PyTree], Oscillations]  # (params, tracks by kernel name)
    checkpoints: Checkpoints
    metrics: Metrics
    log: Log

    @property
    def num_tasks(self) -> int:
        """Tasks this stage trains on."""
        return self.stage.tasks or len(self.world.tasks)


def open_stage(recipe: Recipe, number: int, world: World, folder: Path, metrics: Metrics, log: Log) -> StageRun:
    """Builds and jits the functions of a stage and opens its checkpoint folder."""
    stage = recipe.stages[number]
    built = build_stage(recipe, stage)
    step = make_step(built.network, built.method, built.optimizer, built.loss)
    data = recipe.data
    scorer = make_scorer(built.network, world.input, world.spec, data.batch_size, data.num_classes)
    checkpoints = Checkpoints(folder / "checkpoints" / stage.name)
    return StageRun(
        recipe=recipe,
        number=number,
        stage=stage,
        world=world,
        built=built,
        advance=make_advance(step, world.input),
        scorer=scorer,
        reestimate=make_reestimate(built.network.moments),
        measure=jax.jit(partial(oscillations, built.network.table)),
        checkpoints=checkpoints,
        metrics=metrics,
        log=log,
    )


def run_stage(run: StageRun, params: PyTree, batch_stats: PyTree) -> Progress:
    """Trains the stage's tasks from where its newest checkpoint stands, or from the given parameters."""
    progress = run.checkpoints.progress() or Progress(0, 0, [], -1.0, 0.0, False)
    if progress.done:
        return progress
    begins = (progress.task, progress.epoch) == (0, 0)
    if begins:
        params = calibrated(run, params, batch_stats)
    saved = first_saved(run, params, batch_stats)
    if not begins:
        saved = saved.restore(run.checkpoints)
    run.metrics.begin(partial(_is_before, run, progress))
    while not progress.done:
        began = time.perf_counter()
        saved, progress = run_epoch(run, saved, progress)
        progress = progress._replace(seconds=progress.seconds + time.perf_counter() - began)
        at_task_end = progress.epoch == 0
        if at_task_end or progress.epoch % run.recipe.checkpoint_every == 0:
            saved.save(run.checkpoints, progress)
    return progress


def calibrated(run: StageRun, params: PyTree, batch_stats: PyTree) -> PyTree:
    """`params` with the ranges of all quantizers found on the first training batches of the stage."""
    place = Place(run.recipe.seed, run.number, 0, 0)
    images = training_images(run.scorer, run.world.tasks[0].train, place, run.recipe.calibration_batches)
    return calibrate(run.built.network.observe_ranges, params, batch_stats, images)


def first_saved(run: StageRun, params: PyTree, batch_stats: PyTree) -> Saved:
    """The arrays that the stage begins with."""
    state = TrainState(
        params=params,
        batch_stats=batch_stats,
        opt_state=(),
        method_state=run.built.method.init(params),
        counts=jnp.zeros(()),
        step=jnp.zeros((), jnp.int32),
        num_steps=jnp.ones((), jnp.int32),
    )
    keeps_best = run.recipe.selection == "best"
    return begin_task(run, Saved(state, Best(*_copy((params, batch_stats))) if keeps_best else ()), 0)


def begin_task(run: StageRun, saved: Saved, task: int) -> Saved:
    """Renews what belongs to one task: optimizer state, step count, class counts."""
    rows = run.world.tasks[task]
    steps = len(rows.train.index) // run.recipe.data.batch_size * run.stage.epochs
    state = saved.state._replace(
        opt_state=run.built.optimizer.init(saved.state.params),
        counts=jnp.asarray(rows.counts),
        step=jnp.zeros((), jnp.int32),
        num_steps=jnp.array(steps, jnp.int32),
    )
    return saved._replace(state=state)


def run_epoch(run: StageRun, saved: Saved, progress: Progress) -> tuple[Saved, Progress]:
    """One epoch, its evaluation and its row of metrics.csv; after the last of a task, the task's end as well."""
    place = Place(run.recipe.seed, run.number, progress.task, progress.epoch)
    rate = float(run.built.schedule(saved.state.step / saved.state.num_steps))
    try:
        state, result = train_epoch(run.advance, run.scorer, run.world.tasks[place.task].train, saved.state, place)
    except Diverged as error:
        raise Diverged(f"stage {run.stage.name}: {error}; the last good checkpoint is kept") from None
    is_last = place.epoch + 1 == run.stage.epochs
    is_due = is_last or _is_due(run, place.epoch)
    state, running = _reestimated(run, state, place, is_due, is_last)
    saved, progress = _select(run, saved._replace(state=state), progress)
    if is_last and run.recipe.selection == "best":
        saved = saved._replace(state=saved.state._replace(**_copy(saved.best)._asdict()))
    scores = evaluate_tasks(run, saved.state) if is_due else []
    accuracies = [accuracy_of(score) for score in scores]
    confusions = [np.asarray(score.confusion) for score in scores]
    where = dict(stage=run.stage.name, task=place.task, epoch=place.epoch + 1)
    row = where | dict(step=int(saved.state.step), loss=result.loss, penalty=result.penalty)
    row |= dict(train_accuracy=result.accuracy, learning_rate=rate)
    row |= dict(images_per_second=round(result.images_per_second, 1))
    row |= {f"accuracy_{task}": value for task, value in enumerate(accuracies)}
    row |= {f"balanced_accuracy_{task}": balanced_accuracy(matrix) for task, matrix in enumerate(confusions)}
    row |= {f"running_accuracy_{task}": value for task, value in enumerate(running)}
    row |= _measure_oscillations(run, state, where)
    run.metrics.append(row)
    run.log(_line(run, place, row, accuracies, running))
    if not is_last:
        return saved, progress._replace(epoch=place.epoch + 1)
    for task, (rows, matrix) in enumerate(zip(run.world.tasks, confusions, strict=True)):
        run.metrics.append_classes(class_rows(run.stage.name, place.task, task, rows.train, matrix))
    return finish_task(run, saved, progress, accuracies)


def finish_task(run: StageRun, saved: Saved, progress: Progress, accuracies: list[float]) -> tuple[Saved, Progress]:
    """The method's work between tasks, and a new row of the accuracy matrix."""
    task, done = progress.task, progress.task + 1 == run.num_tasks
    if not done:
        method_state = end_task(run, saved.state, task)
        saved = begin_task(run, saved._replace(state=saved.state._replace(method_state=method_state)), task + 1)
    return saved, progress._replace(
        task=task + 1, epoch=0, matrix=[*progress.matrix, accuracies], best_accuracy=-1.0, done=done
    )


def end_task(run: StageRun, state: TrainState, task: int) -> PyTree:
    """The method's state after it has seen the finished task's network and the data kept of the finished tasks."""
    network, stats = run.built.network, state.batch_stats
    finished = run.world.tasks[: task + 1]
    return run.built.method.end_task(
        state.method_state,
        TaskEnd(
            task=task,
            params=state.params,
            weights=jax.jit(network.quantize)(state.params),
            apply=Partial(network.evaluate, batch_stats=stats),
            apply_weights=Partial(network.evaluate_weights, batch_stats=stats),
            head=network.head,
            loaders=tuple(partial(batches, run.scorer, rows.memory) for rows in finished),
            counts=state.counts,
            key=key_for(run.recipe.seed, run.number, task),
        ),
    )


def evaluate_tasks(run: StageRun, state: TrainState) -> list[Score]:
    """The score on every task of the sequence, the ones not yet trained on included."""
    return [score_rows(run.scorer, task.score, state.params, state.batch_stats) for task in run.world.tasks]


def _reestimated(
    run: StageRun, state: TrainState, place: Place, is_due: bool, is_last: bool
) -> tuple[TrainState, list[float]]:
    """The state with batch-norm statistics measured anew where something is evaluated next; at the end of a task also
    the accuracies with the running statistics."""
    recipe = run.recipe
    if recipe.reestimation_batches == 0 or not (is_due or recipe.selection == "best"):
        return state, []
    scores = evaluate_tasks(run, state) if is_last and recipe.selection == "last" else []
    images = training_images(run.scorer, run.world.tasks[place.task].train, place, recipe.reestimation_batches)
    running = [accuracy_of(score) for score in scores]
    return state._replace(batch_stats=run.reestimate(state.params, images)), running


def _measure_oscillations(run: StageRun, state: TrainState, where: dict) -> dict[str, float]:
    """The columns of metrics.csv about oscillating weights, and a row of weight_distance.csv; {} without tracking."""
    _, control = state.method_state
    if not control.tracks:
        return {}
    found = jax.device_get(run.measure(state.params, control.tracks))
    run.metrics.append_distances(where, found.distances)
    return {"oscillating": float(found.oscillating), "frozen": float(found.frozen)}


def _select(run: StageRun, saved: Saved, progress: Progress) -> tuple[Saved, Progress]:
    if run.recipe.selection == "last":
        return saved, progress
    held_out = concat_rows([task.validation for task in run.world.tasks[: progress.task + 1]])
    accuracy = accuracy_of(score_rows(run.scorer, held_out, saved.state.params, saved.state.batch_stats))
    if accuracy <= progress.best_accuracy:
        return saved, progress
    best = Best(*_copy((saved.state.params, saved.state.batch_stats)))
    return saved._replace(best=best), progress._replace(best_accuracy=accuracy)


def _copy(tree: PyTree) -> PyTree:
    # the step donates its state, so what outlives it needs buffers of its own
    return jax.tree.map(jnp.copy, tree)


def _is_due(run: StageRun, epoch: int) -> bool:
    every = run.recipe.evaluate_every
    return every > 0 and (epoch + 1) % every == 0


def _is_before(run: StageRun, progress: Progress, row: dict[str, str]) -> bool:
    number = [stage.name for stage in run.recipe.stages].index(row["stage"])
    if "after" in row:  # a row of per_class.csv belongs to the end of a task
        return (number, int(row["after"])) < (run.number, progress.task)
    return (number, int(row["task"]), int(row["epoch"])) <= (run.number, progress.task, progress.epoch)


def _line(run: StageRun, place: Place, row: dict, accuracies: list[float], running: list[float]) -> str:
    parts = [
        f"{run.stage.name}  task {place.task + 1}/{run.num_tasks}  epoch {place.epoch + 1}/{run.stage.epochs}",
        f"loss {row['loss']:.4f}",
        f"train {100 * row['train_accuracy']:.1f} %",
        f"{run.recipe.data.evaluate_on} {_shown(accuracies)}" + (f" (running {_shown(running)})" if running else ""),
        *(f"{name} {100 * row[name]:.2f} %" for name in ("oscillating", "frozen") if name in row),
        f"{row['images_per_second']:.0f} images/s",
    ]
    return "  ".join(parts)


def _shown(accuracies: list[float]) -> str:
    return " ".join(f"{100 * value:.1f}" for value in accuracies if not math.isnan(value)) or "-"


def as_matrix(progress: Progress) -> np.ndarray:
    """The accuracy matrix (T, T), 0..1: row after training task i, column accuracy on task j."""
    return np.array(progress.matrix)
