"""The story of one seed: stage after stage, task after task, epoch after epoch.

A run asks with `yield` for long computations: an epoch of steps, or an evaluation. train/run.py answers for one run;
train/drive.py answers for several seeds, under vmap where that is faster."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.tree import megabytes
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import FloatNetwork, StageStart
from lifeq_jax.metrics.classify import balanced_accuracy
from lifeq_jax.models.loading import load_float
from lifeq_jax.runs.columns import CLASSES, CONFUSION, DISTANCES, LAYERS, METRICS
from lifeq_jax.runs.write import class_rows, confusion_rows, distance_row, layer_rows
from lifeq_jax.train.build import is_float
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.checkpoint import WORST, Checkpoints, Progress, begun_stages, stage_folder
from lifeq_jax.train.classify import Score
from lifeq_jax.train.finite import check_finite
from lifeq_jax.train.loop import EpochResult, Place, augmented_images
from lifeq_jax.train.selection import copied, fresh_patience, is_spent, select
from lifeq_jax.train.stage import AllTasks, Answer, Ask, Best, Compiled, Epoch, Moment, Saved, Seed
from lifeq_jax.train.step import TrainState, fresh_state
from lifeq_jax.train.task_end import conclude, with_new_statistics
from lifeq_jax.train.world import World

Weights = tuple[PyTree, PyTree]  # (params, batch_stats)


def train_run(seed: Seed, stages: Sequence[Compiled], start: Weights) -> Generator[Ask, Answer, Progress]:
    """Trains all stages from `start`, or from where the run folder's newest checkpoint stands; returns the last
    stage's progress.

    Raises:
        Diverged: a loss, an update or a state to be saved is not finite."""
    progress: Progress | None = None
    given = start
    for stage in stages[max(begun_stages(seed.folder, seed.recipe.stages), default=0) :]:
        with closing(Checkpoints(stage_folder(seed.folder, stage.stage.name))) as checkpoints:
            start = carried(start, stage.built.network.init(seed.recipe.seed))
            floating = last_float_network(seed.recipe, seed.folder, seed.world, stage.number, given)
            progress = yield from train_stage(stage, seed, checkpoints, start, floating, progress)
            start = checkpoints.weights()
    assert progress is not None  # a recipe has at least one stage
    return progress


def train_stage(
    stage: Compiled,
    seed: Seed,
    checkpoints: Checkpoints,
    start: Weights,
    floating: FloatNetwork | None,
    before: Progress | None,
) -> Generator[Ask, Answer, Progress]:
    """Trains the tasks of a stage; `before` is the progress of the stage before, None for the first."""
    progress = checkpoints.progress() or begin_stage(seed, before)
    if note := checkpoints.note():
        seed.log(note)
    if progress.done:
        return progress
    num_tasks, epochs = stage.stage.tasks or len(seed.world.tasks), stage.stage.epochs
    with naming_stage(stage.stage.name, checkpoints):
        saved = enter_stage(stage, seed, checkpoints, progress, start, floating)
        progress = yield from before_training(stage, seed, saved, progress)
        for task in range(progress.task, num_tasks):
            for epoch in range(progress.epoch, epochs):
                place = Place(seed.recipe.seed, stage.number, task, epoch)
                rate = learning_rate(stage, saved)
                (state, result), seconds = yield Epoch(stage, seed, saved.state, place)
                check_result(result, place)
                saved = saved._replace(state=state)
                measured = measure_oscillations(stage, seed, saved, place)
                is_last = epoch + 1 == epochs
                is_due = is_last or _is_due(seed, epoch)
                saved, running, more = yield from reestimate(stage, seed, saved, place, is_due, is_last)
                check_finite(saved.state, f"the state after {place} of seed {seed.recipe.seed}")
                saved, progress = select(stage, seed, saved, progress)
                is_last = is_last or is_spent(progress, stage.stage.learning_rate, seed.recipe.optimizer)
                if is_last:
                    saved, progress = _concluded(stage, seed, saved, progress, place, task + 1 == num_tasks)
                scores, last = (yield AllTasks(stage, seed, saved.state, place)) if is_due or is_last else ([], 0.0)
                row = epoch_row(stage, saved, place, result, rate) | measured | score_columns(scores, running)
                seed.files.append(METRICS, row)
                seed.log(_line(stage, seed, place, row, num_tasks))
                seed.watch(Moment("epoch", place, saved.state, row))
                progress = progress._replace(epoch=epoch + 1, seconds=progress.seconds + seconds + more + last)
                if is_last:
                    progress = end_of_task(stage, seed, saved, progress, scores)
                    if seed.recipe.keep == "task":
                        saved.keep(seed.folder, stage.stage.name, progress)
                    seed.watch(Moment("task", place, saved.state, row))
                    saved, progress = next_task(stage, seed, saved, progress, num_tasks)
                if is_last or progress.epoch % seed.recipe.checkpoint_every == 0:
                    saved.save(checkpoints, progress._replace(files=seed.files.marks()))
                    seed.watch(Moment("checkpoint", place, saved.state, row))
                if is_last:
                    break
    return progress._replace(files=seed.files.marks())


@contextmanager
def naming_stage(name: str, checkpoints: Checkpoints) -> Iterator[None]:
    """Adds to a Diverged the name of the stage, and whether a checkpoint is kept."""
    try:
        yield
    except Diverged as error:
        kept = "its last good checkpoint is kept" if checkpoints.progress() else "it has written no checkpoint yet"
        raise Diverged(f"stage {name}: {error}; {kept}") from None


def check_result(result: EpochResult, place: Place) -> None:
    """Raises Diverged, naming the step, where a loss or an update of the epoch was not finite."""
    if result.first_bad is not None:
        where = f"step {result.first_bad} of {place} of seed {place.seed}"
        raise Diverged(f"the loss or the update is not finite at {where}")


def carried(old: Weights, fresh: Weights) -> Weights:
    """The weights `old` of one stage in the structure of the next, whose quantizers have a fresh state."""
    params, batch_stats = (load_float(given, wanted) for given, wanted in zip(old, fresh, strict=True))
    return params, batch_stats


def begin_stage(seed: Seed, before: Progress | None) -> Progress:
    """Where a stage begins, after the progress of the stage before."""
    patience = fresh_patience(seed.recipe.optimizer)
    fresh = Progress(0, 0, False, [], [], {}, WORST, *patience, {}, 0.0, 0.0, {}, [])
    if before is None:
        return fresh
    return fresh._replace(**{name: getattr(before, name) for name in ("stages", "seconds", "method_seconds", "files")})


def last_float_network(recipe: Recipe, folder: Path, world: World, number: int, given: Weights) -> FloatNetwork | None:
    """The network of the last float stage before stage `number`, else the run's start weights; None without
    distillation."""
    if recipe.distillation.name == "none":
        return None
    for stage in reversed(recipe.stages[:number]):
        if is_float(stage):
            with closing(Checkpoints(stage_folder(folder, stage.name))) as checkpoints:
                return FloatNetwork(*checkpoints.weights(), stage.tasks or len(world.tasks))
    return FloatNetwork(*given, len(world.tasks))


def enter_stage(
    stage: Compiled,
    seed: Seed,
    checkpoints: Checkpoints,
    progress: Progress,
    start: Weights,
    floating: FloatNetwork | None,
) -> Saved:
    """The arrays that the stage continues from: those of the newest checkpoint, else the given weights with quantizers
    calibrated on the first training batches. Cuts the files of the run folder back to that place."""
    begins = checkpoints.progress() is None
    if begins:
        start = calibrated(stage, seed.recipe, seed.world, start)
    state = first_state(stage, seed.world, start, floating)
    best = () if seed.recipe.selection == "last" else Best(*copied(start))
    seed.files.begin(progress.files)
    saved = Saved(state, best)
    return saved if begins else _at(stage, seed, saved.restore(checkpoints), progress)


def _at(stage: Compiled, seed: Seed, saved: Saved, progress: Progress) -> Saved:
    """What was saved, with the numbers that a recipe of more epochs than before changes."""
    steps, factor = _steps(stage, seed.world, progress.task), progress.rate_factor
    state = saved.state._replace(num_steps=jnp.array(steps, jnp.int32), rate_factor=jnp.array(factor, jnp.float32))
    return saved._replace(state=state)


def calibrated(stage: Compiled, recipe: Recipe, world: World, start: Weights) -> Weights:
    """The weights that a stage begins with: `start`, with quantizers calibrated on the first training batches."""
    params, batch_stats = start
    images = augmented_images(stage.assemble, world, Place(recipe.seed, stage.number, 0, 0), recipe.calibration_batches)
    return calibrate(stage.built.network.observe_ranges, params, batch_stats, images), batch_stats


def first_state(stage: Compiled, world: World, start: Weights, floating: FloatNetwork | None) -> TrainState:
    """The state before the first step of a stage."""
    params, batch_stats = start
    num_tasks = stage.stage.tasks or len(world.tasks)
    begun = StageStart(params, num_tasks, world.num_classes, world.num_rows, world.num_kept, floating)
    counts, steps = world.tasks[0].counts, _steps(stage, world, 0)
    return fresh_state(stage.built.method, stage.built.optimizer, begun, batch_stats, counts, steps)


def before_training(stage: Compiled, seed: Seed, saved: Saved, progress: Progress) -> Generator[Ask, Answer, Progress]:
    """The progress with the accuracy on every task before the stage's first step, the baseline of forward transfer."""
    if progress.untrained:
        return progress
    scores, seconds = yield AllTasks(stage, seed, saved.state, Place(seed.recipe.seed, stage.number, 0, 0))
    return progress._replace(untrained=[score.accuracy for score in scores], seconds=progress.seconds + seconds)


def _steps(stage: Compiled, world: World, task: int) -> int:
    return world.steps(task) * stage.stage.epochs


def learning_rate(stage: Compiled, saved: Saved) -> float:
    """The learning rate of the next step."""
    state = saved.state
    return float(stage.built.schedule(state.step / state.num_steps) * state.rate_factor)


def reestimate(
    stage: Compiled, seed: Seed, saved: Saved, place: Place, is_due: bool, is_last: bool
) -> Generator[Ask, Answer, tuple[Saved, list[Score], float]]:
    """Re-estimates batch-norm statistics if an evaluation follows; at the end of a task also returns the scores with
    the running statistics, and the seconds they took."""
    by_last = seed.recipe.selection == "last"
    if not seed.recipe.reestimation_batches or (by_last and not is_due):
        return saved, [], 0.0
    running, seconds = (yield AllTasks(stage, seed, saved.state, place)) if is_last and by_last else ([], 0.0)
    return saved._replace(state=with_new_statistics(stage, seed, saved.state, place)), running, seconds


def measure_oscillations(stage: Compiled, seed: Seed, saved: Saved, place: Place) -> dict[str, float]:
    """The columns of metrics.csv about oscillating weights, and a row of weight_distance.csv; {} without tracking."""
    *_, control = saved.state.method_state
    if not control.tracks:
        return {}
    result = jax.device_get(stage.measure(saved.state.params, control.tracks))
    seed.files.append(DISTANCES, distance_row(_columns(stage, place), result.distances))
    return {"oscillating": float(result.oscillating), "frozen": float(result.frozen)}


def _concluded(
    stage: Compiled, seed: Seed, saved: Saved, progress: Progress, place: Place, is_final: bool
) -> tuple[Saved, Progress]:
    began = perf_counter()
    state = jax.block_until_ready(conclude(stage, seed, saved, place, is_final))
    check_finite(state, f"what {seed.recipe.method.name} makes of the state at the end of task {place.task + 1}")
    spent = progress.method_seconds + perf_counter() - began
    return saved._replace(state=state), progress._replace(method_seconds=spent)


def end_of_task(stage: Compiled, seed: Seed, saved: Saved, progress: Progress, scores: list[Score]) -> Progress:
    """Writes a finished task's rows of per_class.csv, confusion.csv and layers.csv; returns the progress with their
    numbers."""
    name, after = stage.stage.name, progress.task
    for task, (rows, score) in enumerate(zip(seed.world.tasks, scores, strict=True)):
        confusion = np.asarray(score.confusion)
        seed.files.append(CLASSES, *class_rows(name, after, task, rows.own_counts, confusion))
        seed.files.append(CONFUSION, *confusion_rows(name, after, task, confusion))
    measured = jax.device_get(jax.jit(stage.built.method.measure)(saved.state.method_state, saved.state.params))
    layers = {leaf: {key: float(value) for key, value in numbers.items()} for leaf, numbers in measured.items()}
    seed.files.append(LAYERS, *layer_rows(name, after, layers))
    accuracies = [score.accuracy for score in scores]
    return progress._replace(
        matrix=[*progress.matrix, accuracies],
        balanced=[balanced_accuracy(np.asarray(score.confusion)) for score in scores],
        layers=layers,
        stages=progress.stages | {name: accuracies},
    )


def next_task(stage: Compiled, seed: Seed, saved: Saved, progress: Progress, num_tasks: int) -> tuple[Saved, Progress]:
    """Resets what belongs to one task: optimizer state, step count, class counts, learning rate, patience."""
    task = progress.task + 1
    if task == num_tasks:
        return saved, progress._replace(task=task, epoch=0, done=True)
    left, factor = fresh_patience(seed.recipe.optimizer)
    progress = progress._replace(task=task, epoch=0, best=WORST, patience_left=left, rate_factor=factor)
    state = saved.state._replace(
        opt_state=stage.built.optimizer.init(saved.state.params),
        counts=jnp.asarray(seed.world.tasks[task].counts),
        step=jnp.zeros((), jnp.int32),
        num_steps=jnp.array(_steps(stage, seed.world, task), jnp.int32),
        rate_factor=jnp.ones(()),
    )
    return saved._replace(state=state), progress


def _is_due(seed: Seed, epoch: int) -> bool:
    every = seed.recipe.evaluate_every
    return every > 0 and (epoch + 1) % every == 0


def _columns(stage: Compiled, place: Place) -> dict[str, Any]:
    return dict(stage=stage.stage.name, task=place.task, epoch=place.epoch + 1)


def epoch_row(stage: Compiled, saved: Saved, place: Place, result: EpochResult, rate: float) -> dict[str, Any]:
    """The columns of metrics.csv about training."""
    return _columns(stage, place) | dict(
        step=int(saved.state.step),
        loss=result.loss,
        penalty=result.penalty,
        train_accuracy=float(result.counts.correct / result.counts.total),
        learning_rate=rate,
        images_per_second=round(result.images_per_second, 1),
        state_megabytes=megabytes(saved.state),
    )


def score_columns(scores: list[Score], running: list[Score]) -> dict[str, float]:
    """The columns of metrics.csv about every task; `running`: scores before batch norm was re-estimated."""
    columns = {f"accuracy_{task}": score.accuracy for task, score in enumerate(scores)}
    columns |= {f"balanced_accuracy_{t}": balanced_accuracy(np.asarray(s.confusion)) for t, s in enumerate(scores)}
    return columns | {f"running_accuracy_{task}": score.accuracy for task, score in enumerate(running)}


def _line(stage: Compiled, seed: Seed, place: Place, row: dict, num_tasks: int) -> str:
    running = _shown(row, "running_accuracy_")
    parts = [
        f"{stage.stage.name}  task {place.task + 1}/{num_tasks}  epoch {place.epoch + 1}/{stage.stage.epochs}",
        f"loss {row['loss']:.4f}",
        f"train {100 * row['train_accuracy']:.1f} %",
        f"{seed.recipe.data.evaluate_on} {_shown(row, 'accuracy_') or '-'}"
        + (f" (running {running})" if running else ""),
        *(f"{name} {100 * row[name]:.2f} %" for name in ("oscillating", "frozen") if name in row),
        f"{row['images_per_second']:.0f} images/s",
    ]
    return "  ".join(parts)


def _shown(row: dict, prefix: str) -> str:
    values = [value for name, value in row.items() if name.startswith(prefix) and not math.isnan(value)]
    return " ".join(f"{100 * value:.1f}" for value in values)
