"""A run that goes on longer: the epochs of its newest stage, or of later ones, raised after it began."""

from collections.abc import Sequence
from contextlib import closing

from lifeq_jax.core.config import read_recipe, to_json
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import CLASSES, CONFUSION, LAYERS
from lifeq_jax.runs.folder import CONFIG, SUMMARY, longer_stages
from lifeq_jax.train.checkpoint import Checkpoints, Progress, begun_stages, stage_folder
from lifeq_jax.train.mesh import is_writer, wait_for_all
from lifeq_jax.train.selection import fresh_patience
from lifeq_jax.train.stage import Compiled, Seed


def go_on_longer(seed: Seed, stages: Sequence[Compiled]) -> None:
    """Opens the finished task again that more epochs are wanted of, and writes the recipe that wants them.

    Called while the run folder is held; a kill at any moment leaves a run that the same command takes up.

    Raises:
        Refusal: a later stage has begun with what the stage had reached, or the method has concluded it."""
    config = seed.folder / CONFIG
    longer = longer_stages(read_recipe(config), seed.recipe)
    newest = max(begun_stages(seed.folder, seed.recipe.stages), default=-1)
    for number in longer:
        if number < newest:
            raise Refusal(
                f"stages.{number}.epochs cannot be raised: stage {stages[newest].stage.name!r} has begun with what "
                f"{stages[number].stage.name!r} had reached; choose another --run folder"
            )
    wait_for_all("the recipe before")  # which one of the processes overwrites now
    if newest in longer:
        _open_again(seed, stages[newest])
    if longer and is_writer():
        (seed.folder / SUMMARY).unlink(missing_ok=True)
        write_whole(config, to_json(seed.recipe))


def _open_again(seed: Seed, stage: Compiled) -> None:
    """Writes a checkpoint in which the last task of a finished stage is under way, after the epochs it had."""
    with closing(Checkpoints(stage_folder(seed.folder, stage.stage.name))) as checkpoints:
        items = checkpoints.items()
        if items is None or not items.progress.done:
            return
        if stage.built.method.concludes:
            raise Refusal(
                f"stages.{stage.number}.epochs cannot be raised: the stage is finished, and "
                f"{seed.recipe.method.name!r} has changed its network in the end; choose another --run folder"
            )
        wait_for_all("the checkpoint before")  # all have read it; one of them writes a newer one now
        progress: Progress = items.progress
        task, name = progress.task - 1, stage.stage.name
        epochs = int(items.training["state"]["step"]) // seed.world.steps(task)
        left, factor = fresh_patience(seed.recipe.optimizer)
        marks = dict(progress.files)
        for file in (CLASSES, CONFUSION, LAYERS):  # their rows of the task's end, which is yet to come
            marks |= seed.files.mark_without(file, progress.files, {"stage": name, "after": str(task)})
        opened = progress._replace(
            task=task,
            epoch=epochs,
            done=False,
            matrix=progress.matrix[:-1],
            patience_left=left,
            rate_factor=factor,
            stages={key: value for key, value in progress.stages.items() if key != name},
            files=marks,
        )
        checkpoints.save(items.network, items.training, opened)
        seed.log(f"stage {name} goes on: {stage.stage.epochs} epochs of task {task + 1} instead of {epochs}")
