"""Reads the checkpoints of a run folder, for evaluation and for runs that start from them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.folder import CONFIG, status
from lifeq_jax.train.checkpoint import Checkpoints, Progress, has_checkpoint, kept_network, stage_folder


@contextmanager
def reached(
    folder: Path, stage: str | None = None, after_task: int | None = None, record: Any = Progress
) -> Iterator[Checkpoints]:
    """The checkpoints of a run folder's stage (by default its last), of which the newest whole one is read; or the
    network of the end of a task (from 0) of it, where the recipe keeps these; `record` as in Checkpoints.

    Raises:
        Refusal: the stage has not begun, no checkpoint is whole, the stage was trained to its end and its last
            checkpoint is gone, or there is no network of that task."""
    recipe = read_any(folder / CONFIG)
    names, name = [item.name for item in recipe.stages], stage_of(recipe, folder, stage).name
    if after_task is not None:
        with closing(Checkpoints(_kept(folder, recipe, name, after_task), record)) as checkpoints:
            yield checkpoints
        return
    path = stage_folder(folder, name)
    if not has_checkpoint(path):
        raise Refusal(f"{path} holds no checkpoint: this stage of the run has not begun")
    later = names[names.index(name) + 1 :]
    is_over = status(folder) == "finished" or any(has_checkpoint(path.parent / other) for other in later)
    with closing(Checkpoints(path, record)) as checkpoints:
        if is_over and not checkpoints.is_done():
            raise Refusal(
                f"{path}: the stage was trained to its end, and the checkpoint of that is gone or damaged; what is "
                f"left is {checkpoints.place()}"
            )
        yield checkpoints


def stage_of(recipe: Recipe | GameRecipe, folder: Path, name: str | None) -> Stage:
    """The stage of that name of a run folder's recipe; None: the last. Refuses an unknown name."""
    stages = {stage.name: stage for stage in recipe.stages}
    if name is None:
        return recipe.stages[-1]
    if name not in stages:
        raise Refusal(f"run folder {folder} has no stage {name!r}; choose from {', '.join(stages)}")
    return stages[name]


def _kept(folder: Path, recipe: Recipe | GameRecipe, stage: str, task: int) -> Path:
    path = kept_network(folder, stage, task)
    if not has_checkpoint(path):
        if recipe.keep != "task":
            raise Refusal(f"run folder {folder} keeps no networks of tasks: its recipe has keep={recipe.keep!r}")
        there = sorted(int(one.name) for one in path.parent.glob("*") if one.name.isdecimal() and has_checkpoint(one))
        found = f"choose from {', '.join(map(str, there))}" if there else "none has ended yet"
        raise Refusal(f"stage {stage} of run folder {folder} has no network after task {task}; {found}")
    return path


def notes(checkpoints: Checkpoints) -> list[str]:
    """Warnings about the checkpoint in use, a line each."""
    said = [] if checkpoints.is_done() else [f"the stage is not finished; this is {checkpoints.place()}"]
    damaged = checkpoints.note()
    return said if damaged is None else [damaged, *said]
