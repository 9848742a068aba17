"""The sequence: a stage over its tasks, resumable at every checkpoint."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.keys import generator_for, key_for
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.tree import megabytes
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.tables import Rows, concat_rows
from lifeq_jax.methods.base import TaskEnd
from lifeq_jax.metrics.classify import balanced_accuracy
from lifeq_jax.train.abreast import Abreast, Job, gains, make_abreast, score_abreast, train_abreast
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.checkpoint import WORST, Progress
from lifeq_jax.train.loop import (
    EpochResult,
    Place,
    accuracy_of,
    batches,
    score_rows,
    train_epoch,
    training_images,
)
from lifeq_jax.train.patience import Patience, after_epoch, fresh_patience, is_spent
from lifeq_jax.train.per_class import class_rows
from lifeq_jax.train.run_folder import layer_rows
from lifeq_jax.train.stage import Best, Saved, StageRun
from lifeq_jax.train.step import Score, TrainState


def run_stage(runs: Sequence[StageRun], starts: Sequence[tuple[PyTree, PyTree]]) -> list[Progress]:
    """Trains the stage's tasks of every seed from where its newest checkpoint stands, or from the given (params,
    batch_stats). Seeds at one place train together, those behind first."""
    progress = [run.checkpoints.progress() or fresh_progress(run.recipe) for run in runs]
    saved = {
        i: enter_stage(run, progress[i], *start)
        for i, (run, start) in enumerate(zip(runs, starts, strict=True))
        if not progress[i].done
    }
    together = len(runs) > 1 and gains()
    constants = [run.scorer.constants for run in runs]
    abreast = make_abreast(runs[0].functions, runs[0].scorer.evaluation, constants) if together else None
    while group := _furthest_behind(runs, progress):
        began = time.perf_counter()
        reached_by = run_epoch([Standing(runs[i], saved[i], progress[i]) for i in group], abreast)
        seconds = (time.perf_counter() - began) / len(group)
        for i, (arrays, reached) in zip(group, reached_by, strict=True):
            saved[i], progress[i] = arrays, reached._replace(seconds=reached.seconds + seconds)
            if reached.epoch == 0 or reached.epoch % runs[i].recipe.checkpoint_every == 0:
                arrays.save(runs[i].checkpoints, progress[i])
    return progress


def _furthest_behind(runs: Sequence[StageRun], progress: Sequence[Progress]) -> list[int]:
    """Numbers of the runs that train next, side by side: of one place and one number of steps."""
    places = {
        i: (at.task, at.epoch, run.steps(at.task))
        for i, (run, at) in enumerate(zip(runs, progress, strict=True))
        if not at.done
    }
    return [i for i, place in places.items() if place == min(places.values())]


def enter_stage(run: StageRun, progress: Progress, params: PyTree, batch_stats: PyTree) -> Saved:
    """The arrays that the stage goes on with: of the newest checkpoint, or of the given parameters, calibrated."""
    begins = (progress.task, progress.epoch) == (0, 0)
    if begins:
        params = calibrated(run, params, batch_stats)
    saved = first_saved(run, params, batch_stats)
    if not begins:
        saved = saved.restore(run.checkpoints)
    run.metrics.begin(partial(_is_before, run, progress))
    return saved


def fresh_progress(recipe: Recipe) -> Progress:
    """Where a stage begins."""
    return Progress(0, 0, [], WORST, *fresh_patience(recipe.optimizer), 0.0, 0.0, False)


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
        rate_factor=jnp.ones(()),
    )
    best = () if run.recipe.selection == "last" else Best(*_copy((params, batch_stats)))
    return begin_task(run, Saved(state, best), 0)


def begin_task(run: StageRun, saved: Saved, task: int) -> Saved:
    """Renews what belongs to one task: optimizer state, step count, class counts, learning rate."""
    rows = run.world.tasks[task]
    steps = run.steps(task) * run.stage.epochs
    state = saved.state._replace(
        opt_state=run.built.optimizer.init(saved.state.params),
        counts=jnp.asarray(rows.counts),
        step=jnp.zeros((), jnp.int32),
        num_steps=jnp.array(steps, jnp.int32),
        rate_factor=jnp.ones(()),
    )
    return saved._replace(state=state)


class Standing(NamedTuple):
    """A run, and where it stands."""

    run: StageRun
    saved: Saved
    progress: Progress


class Settled(NamedTuple):
    """A run after an epoch, before its evaluation."""

    saved: Saved
    progress: Progress  # of the epoch
    is_due: bool  # whether it is evaluated
    is_last: bool  # of its task
    row: dict[str, Any]  # columns of metrics.csv
    running: list[float]  # accuracies with the running statistics, where they have been replaced


def run_epoch(group: Sequence[Standing], abreast: Abreast | None) -> list[tuple[Saved, Progress]]:
    """One epoch of runs that stand at one place, its evaluation and its row of metrics.csv; after the last of a task,
    the task's end as well. In one program where `abreast` is given."""
    together = abreast if len(group) > 1 else None
    rates = [run.rate(saved.state) for run, saved, _ in group]
    with _naming_stage(group[0].run):
        trained = _train(group, together)
    settled = [
        settle(run, saved._replace(state=state), progress, result, rate)
        for (run, saved, progress), rate, (state, result) in zip(group, rates, trained, strict=True)
    ]
    scores = _evaluate(group, settled, together)
    return [record(at.run, epoch, found) for at, epoch, found in zip(group, settled, scores, strict=True)]


def _train(group: Sequence[Standing], abreast: Abreast | None) -> list[tuple[TrainState, EpochResult]]:
    task, keeps_norm = group[0].progress.task, group[0].run.keeps_norm(group[0].progress.task)
    jobs = [
        Job(run.scorer, run.world.tasks[task].train, saved.state, run.place(progress)) for run, saved, progress in group
    ]
    if abreast is not None:
        return train_abreast(abreast.advances[keeps_norm], jobs)
    advance = group[0].run.advances[keeps_norm]
    return [train_epoch(advance, job.data, job.rows, job.state, job.place) for job in jobs]


def _evaluate(group: Sequence[Standing], settled: Sequence[Settled], abreast: Abreast | None) -> list[list[Score]]:
    """The scores of every run on all tasks; none where no evaluation is due."""
    runs, states = [at.run for at in group], [epoch.saved.state for epoch in settled]
    by_task = [[run.world.tasks[task].score for run in runs] for task in range(len(runs[0].world.tasks))]
    alike = all(len({len(own.index) for own in rows}) == 1 for rows in by_task)
    if abreast is None or not alike or not all(epoch.is_due for epoch in settled):
        return [
            evaluate_tasks(at.run, epoch.saved.state) if epoch.is_due else []
            for at, epoch in zip(group, settled, strict=True)
        ]
    scorers, weights = [run.scorer for run in runs], [(state.params, state.batch_stats) for state in states]
    found = [score_abreast(abreast.score, scorers, rows, weights) for rows in by_task]
    return [list(own) for own in zip(*found, strict=True)]


@contextmanager
def _naming_stage(run: StageRun) -> Iterator[None]:
    try:
        yield
    except Diverged as error:
        raise Diverged(f"stage {run.stage.name}: {error}; the last good checkpoint is kept") from None


def settle(run: StageRun, saved: Saved, progress: Progress, result: EpochResult, rate: float) -> Settled:
    """What follows an epoch's steps: batch-norm statistics, selection and, after a task's last, the method's work."""
    place, state = run.place(progress), saved.state
    where = dict(stage=run.stage.name, task=place.task, epoch=place.epoch + 1)
    is_last = place.epoch + 1 == run.stage.epochs
    is_due = is_last or _is_due(run, place.epoch)
    measured = _measure_oscillations(run, state, where)
    state, running = _reestimated(run, state, place, is_due, is_last)
    saved, progress = _select(run, saved._replace(state=state), progress)
    is_last = is_last or is_spent(_patience(progress), run.stage.learning_rate, run.recipe.optimizer)
    if is_last:
        began = time.perf_counter()
        saved = saved._replace(state=jax.block_until_ready(conclude(run, saved, place)))
        spent = progress.method_seconds + time.perf_counter() - began
        progress = progress._replace(method_seconds=spent)
    row = where | dict(step=int(saved.state.step), loss=result.loss, penalty=result.penalty)
    row |= dict(train_accuracy=result.accuracy, learning_rate=rate)
    row |= dict(images_per_second=round(result.images_per_second, 1), state_megabytes=megabytes(saved.state))
    return Settled(saved, progress, is_due or is_last, is_last, row | measured, running)


def record(run: StageRun, epoch: Settled, scores: list[Score]) -> tuple[Saved, Progress]:
    """Writes an epoch's row of metrics.csv, and what a task's end leaves; returns where training goes on."""
    place, row = run.place(epoch.progress), dict(epoch.row)
    accuracies = [accuracy_of(score) for score in scores]
    confusions = [np.asarray(score.confusion) for score in scores]
    row |= {f"accuracy_{task}": value for task, value in enumerate(accuracies)}
    row |= {f"balanced_accuracy_{task}": balanced_accuracy(matrix) for task, matrix in enumerate(confusions)}
    row |= {f"running_accuracy_{task}": value for task, value in enumerate(epoch.running)}
    run.metrics.append(row)
    run.log(_line(run, place, row, accuracies, epoch.running))
    if not epoch.is_last:
        return epoch.saved, epoch.progress._replace(epoch=place.epoch + 1)
    _write_task_end(run, epoch.saved.state, place.task, confusions)
    return next_task(run, epoch.saved, epoch.progress, accuracies)


def conclude(run: StageRun, saved: Saved, place: Place) -> TrainState:
    """The state that a task ends with: what selection has kept, after the method's work between tasks."""
    state = saved.state
    if run.recipe.selection != "last":
        state = state._replace(**_copy(saved.best)._asdict())
    method, is_final = run.built.method, place.task + 1 == run.num_tasks
    if is_final and not method.concludes:
        return state
    state = state._replace(method_state=end_task(run, state, place.task))
    params = jax.jit(method.settle)(state.method_state, state.params)
    state = state._replace(params=_copy(params))  # apart from the method's own arrays, which are donated with it
    return _with_new_statistics(run, state, place)


def _write_task_end(run: StageRun, state: TrainState, task: int, confusions: list[np.ndarray]) -> None:
    for scored, (rows, matrix) in enumerate(zip(run.world.tasks, confusions, strict=True)):
        run.metrics.append_classes(class_rows(run.stage.name, task, scored, rows.train, matrix))
    found = jax.device_get(jax.jit(run.built.method.measure)(state.method_state, state.params))
    run.metrics.append_layers(layer_rows(run.stage.name, task, found))


def next_task(run: StageRun, saved: Saved, progress: Progress, accuracies: list[float]) -> tuple[Saved, Progress]:
    """A new row of the accuracy matrix, and the state that the next task begins with."""
    task, done = progress.task, progress.task + 1 == run.num_tasks
    if not done:
        saved = begin_task(run, saved, task + 1)
    left, factor = fresh_patience(run.recipe.optimizer)
    return saved, progress._replace(
        task=task + 1,
        epoch=0,
        matrix=[*progress.matrix, accuracies],
        best=WORST,
        patience_left=left,
        rate_factor=factor,
        done=done,
    )


def end_task(run: StageRun, state: TrainState, task: int) -> PyTree:
    """The method's state after it has seen the finished task's network and the data kept of the finished tasks."""
    network, stats = run.built.network, state.batch_stats
    return run.built.method.end_task(
        state.method_state,
        TaskEnd(
            task=task,
            params=state.params,
            weights=jax.jit(network.quantize)(state.params),
            apply=Partial(network.evaluate, batch_stats=stats),
            apply_weights=Partial(network.evaluate_weights, batch_stats=stats),
            head=network.head,
            loaders=tuple(partial(batches, run.scorer, _memory(run, finished)) for finished in range(task + 1)),
            counts=state.counts,
            key=key_for(run.recipe.seed, run.number, task),
            squares=Partial(network.squares, batch_stats=stats),
            squares_weights=Partial(network.squares_weights, batch_stats=stats),
        ),
    )


def _memory(run: StageRun, task: int) -> Rows:
    """What a method sees of a finished task. Some of the rows are drawn at random, since files go class by class."""
    rows, count = run.world.tasks[task].memory, run.recipe.importance_batches * run.recipe.data.batch_size
    if not 0 < count < len(rows.index):
        return rows
    drawn = generator_for(run.recipe.seed, run.number, task).permutation(len(rows.index))[:count]
    return Rows(*(column[drawn] for column in rows))


def evaluate_tasks(run: StageRun, state: TrainState) -> list[Score]:
    """The score on every task of the sequence, the ones not yet trained on included."""
    return [score_rows(run.scorer, task.score, state.params, state.batch_stats) for task in run.world.tasks]


def _reestimated(
    run: StageRun, state: TrainState, place: Place, is_due: bool, is_last: bool
) -> tuple[TrainState, list[float]]:
    """The state with batch-norm statistics measured anew where something is evaluated next; at the end of a task also
    the accuracies with the running statistics."""
    recipe = run.recipe
    if recipe.reestimation_batches == 0 or not (is_due or recipe.selection != "last"):
        return state, []
    scores = evaluate_tasks(run, state) if is_last and recipe.selection == "last" else []
    return _with_new_statistics(run, state, place), [accuracy_of(score) for score in scores]


def _with_new_statistics(run: StageRun, state: TrainState, place: Place) -> TrainState:
    count = run.recipe.reestimation_batches
    if count == 0:
        return state
    images = training_images(run.scorer, run.world.tasks[place.task].train, place, count)
    return state._replace(batch_stats=run.reestimate(state.params, images))


def _measure_oscillations(run: StageRun, state: TrainState, where: dict) -> dict[str, float]:
    """The columns of metrics.csv about oscillating weights, and a row of weight_distance.csv; {} without tracking."""
    _, control = state.method_state
    if not control.tracks:
        return {}
    found = jax.device_get(run.measure(state.params, control.tracks))
    run.metrics.append_distances(where, found.distances)
    return {"oscillating": float(found.oscillating), "frozen": float(found.frozen)}


def _select(run: StageRun, saved: Saved, progress: Progress) -> tuple[Saved, Progress]:
    """Keeps what is better than anything in this task so far; lowers the rate when patience ends."""
    recipe, state = run.recipe, saved.state
    if recipe.selection == "last":
        return saved, progress
    score = _validation_score(run, state, progress.task)
    if math.isnan(score):
        raise Diverged(f"stage {run.stage.name}: the validation loss of task {progress.task} is not finite")
    improved = score > progress.best
    patience = after_epoch(_patience(progress), improved, recipe.optimizer)
    if improved:
        saved = saved._replace(best=Best(*_copy((state.params, state.batch_stats))))
        progress = progress._replace(best=score)
    if patience.rate_factor != progress.rate_factor:
        begun_anew = run.built.optimizer.init(state.params)
        state = state._replace(opt_state=begun_anew, rate_factor=jnp.float32(patience.rate_factor))
        saved = saved._replace(state=state)
    return saved, progress._replace(patience_left=patience.left, rate_factor=patience.rate_factor)


def _patience(progress: Progress) -> Patience:
    return Patience(progress.patience_left, progress.rate_factor)


def _validation_score(run: StageRun, state: TrainState, task: int) -> float:
    """The accuracy on the validation images of all tasks so far, or minus the mean loss on those of the newest."""
    by_loss = run.recipe.selection == "lowest_loss"
    held_out = [rows.validation for rows in run.world.tasks[task if by_loss else 0 : task + 1]]
    score = score_rows(run.scorer, concat_rows(held_out), state.params, state.batch_stats)
    return -float(score.loss / score.confusion.sum()) if by_loss else accuracy_of(score)


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
