"""A run that goes on longer: the epochs of its newest stage, or of later ones, raised after it began."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from lifeq_jax.core.config import to_json
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.game_recipe import read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods.base import Method
from lifeq_jax.runs.columns import CLASSES, CONFUSION, LAYERS
from lifeq_jax.runs.folder import CONFIG, SUMMARY, longer_stages
from lifeq_jax.train.checkpoint import Checkpoints, Progress, begun_stages, stage_folder
from lifeq_jax.train.mesh import is_writer, wait_for_all
from lifeq_jax.train.selection import fresh_patience


class Ends(NamedTuple):
    """What the end of a task leaves, in runs on images or in those on games."""

    progress: Any  # the record of where a stage stands
    files: tuple[str, ...]  # which get rows then
    steps: Callable[[Any, int], int]  # (seed, task) -> steps of an epoch
    before: Callable[[Any, Any], dict[str, Any]]  # (seed, progress) -> further fields of the progress before it


def _with_patience(seed: Any, progress: Progress) -> dict[str, Any]:
    left, factor = fresh_patience(seed.recipe.optimizer)
    return {"patience_left": left, "rate_factor": factor}


OF_IMAGES = Ends(Progress, (CLASSES, CONFUSION, LAYERS), lambda seed, task: seed.world.steps(task), _with_patience)


def go_on_longer(seed: Any, methods: Sequence[Method], ends: Ends) -> None:
    """Opens the finished task again that more epochs are wanted of, and writes the recipe that wants them.

    Called while the run folder is held; a kill at any moment leaves a run that the same command takes up. `seed` is the
    record of that name of the room that trains, `methods` are those of the stages.

    Raises:
        Refusal: a later stage has begun with what the stage had reached, or the method has concluded it."""
    config, stages = seed.folder / CONFIG, seed.recipe.stages
    longer = longer_stages(read_any(config), seed.recipe)
    newest = max(begun_stages(seed.folder, stages), default=-1)
    for number in longer:
        if number < newest:
            raise Refusal(
                f"stages.{number}.epochs cannot be raised: stage {stages[newest].name!r} has begun with what "
                f"{stages[number].name!r} had reached; choose another --run folder"
            )
    wait_for_all("the recipe before")  # which one of the processes overwrites now
    if newest in longer:
        _open_again(seed, newest, methods[newest], ends)
    if longer and is_writer():
        (seed.folder / SUMMARY).unlink(missing_ok=True)
        write_whole(config, to_json(seed.recipe))


def _open_again(seed: Any, number: int, method: Method, ends: Ends) -> None:
    """Writes a checkpoint in which the last task of a finished stage is under way, after the epochs it had."""
    stage = seed.recipe.stages[number]
    with closing(Checkpoints(stage_folder(seed.folder, stage.name), ends.progress)) as checkpoints:
        items = checkpoints.items()
        if items is None or not items.progress.done:
            return
        if method.concludes:
            raise Refusal(
                f"stages.{number}.epochs cannot be raised: the stage is finished, and "
                f"{seed.recipe.method.name!r} has changed its network in the end; choose another --run folder"
            )
        wait_for_all("the checkpoint before")  # all have read it; one of them writes a newer one now
        progress = items.progress
        task, name = progress.task - 1, stage.name
        epochs = int(items.training["state"]["step"]) // ends.steps(seed, task)
        marks = dict(progress.files)
        for file in ends.files:  # their rows of the task's end, which is yet to come
            marks |= seed.files.mark_without(file, progress.files, {"stage": name, "after": str(task)})
        opened = progress._replace(
            task=task,
            epoch=epochs,
            done=False,
            matrix=progress.matrix[:-1],
            stages={key: value for key, value in progress.stages.items() if key != name},
            files=marks,
            **ends.before(seed, progress),
        )
        checkpoints.save(items.network, items.training, opened)
        seed.log(f"stage {name} goes on: {stage.epochs} epochs of task {task + 1} instead of {epochs}")
