"""The data of a recipe: the part of its CSV files and images that all seeds share, and the part of one seed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.heads import Heads, head_masks, heads_of, to_outputs
from lifeq_jax.data.identity import digest_of
from lifeq_jax.data.inputs import Input, TaskTable, with_tasks
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.permute import permutations
from lifeq_jax.data.pipeline import pipeline
from lifeq_jax.data.resident import choose_input, resident
from lifeq_jax.data.tables import (
    Catalog,
    ImageTable,
    Rows,
    SeedRows,
    Task,
    TaskRows,
    catalog,
    class_counts_of,
    load_tasks,
    rows_for_seed,
    task_rows,
)
from lifeq_jax.train.mesh import Devices, devices_for


class RecipeFiles(NamedTuple):
    """The content of a recipe's files, the same for every seed."""

    images: Catalog
    tasks: tuple[TaskRows, ...]  # labels are outputs of the network
    heads: Heads | None  # None: all tasks share one head
    input: Input
    spec: ImageSpec
    digest: dict[str, str]  # of CSV rows and images, by digest_of


class TaskData(NamedTuple):
    """The rows of one task for one seed."""

    train: Rows  # with the replay of earlier tasks
    score: Rows  # for its column of the accuracy matrix
    validation: Rows  # held out of `train`; empty without a validation split
    memory: Rows  # what a method may look at when the task is over
    counts: np.ndarray  # (K,) float32, images of each class in `train`
    own_counts: np.ndarray  # (K,) float32, the same without replay


class World(NamedTuple):
    """The data of one seed, ready to be fed to compiled functions."""

    tasks: tuple[TaskData, ...]
    input: Input
    constants: PyTree  # of the input, on all devices
    spec: ImageSpec
    devices: Devices
    batch_size: int
    num_classes: int
    num_rows: int = 0  # images of the catalog
    num_kept: int = 0  # rows of the `memory` of all tasks, before a seed holds any of them out

    def steps(self, task: int) -> int:
        """Steps of an epoch of a task."""
        return len(self.tasks[task].train.index) // self.batch_size


def read_source(recipe: Recipe) -> RecipeFiles:
    """Reads the CSV files of all tasks, each once, and opens the images.

    Raises:
        Refusal: names the file, row or key that is wrong."""
    root = Path(recipe.data.root)
    if not root.is_dir():
        raise Refusal(f"data.root={recipe.data.root!r} is not a folder; `lifeq-jax data prepare` makes one")
    tasks, heads = read_sequence(recipe, root)
    images, digest = _identity(recipe, tasks, root)
    if heads is not None:
        tasks = tuple(_with_outputs(heads, number, task) for number, task in enumerate(tasks))
    return RecipeFiles(images, task_rows(images, tasks), heads, *open_images(recipe, images, root), digest)


def read_identity(recipe: Recipe, root: Path) -> tuple[Catalog, dict[str, str]]:
    """The images that the recipe's CSV files name, and the digest of both, without opening an image. Refuses what
    `read_source` refuses."""
    return _identity(recipe, read_sequence(recipe, root)[0], root)


def _identity(recipe: Recipe, tasks: Sequence[Task], root: Path) -> tuple[Catalog, dict[str, str]]:
    images = catalog([table for task in tasks for table in task if table is not None])
    own = tasks[:1] if recipe.data.permuted else tasks
    return images, digest_of(Path(recipe.data.csv), own, root)


def make_world(recipe: Recipe, source: RecipeFiles) -> World:
    """The data of the recipe's seed.

    Raises:
        Refusal: a task has fewer images than training or evaluation needs."""
    data = recipe.data
    rows = rows_for_seed(source.images, source.tasks, data.validation, recipe.seed)
    tasks = tuple(_task_data(recipe, task) for task in rows)
    _refuse_too_few(recipe, tasks)
    devices = devices_for(recipe.parallel, data.batch_size)
    inputs = for_tasks(recipe, source.heads, source.input)
    constants = devices.replicate(inputs.constants)
    return World(
        tasks,
        inputs,
        constants,
        source.spec,
        devices,
        data.batch_size,
        data.num_classes,
        num_rows=len(source.images.paths),
        num_kept=sum(len(_memory(recipe, task.train, task.replay).index) for task in source.tasks),
    )


def read_sequence(recipe: Recipe, root: Path | None) -> tuple[tuple[Task, ...], Heads | None]:
    """The CSV files of all tasks, their images under `root` checked, and the outputs of each task; None where all tasks
    share one head."""
    data = recipe.data
    number = 1 if data.permuted else data.num_tasks
    tasks = load_tasks(Path(data.csv), number, root=root, num_classes=data.num_classes, replay=data.replay)
    tasks *= data.num_tasks // number
    return tasks, heads_of([task.train for task in tasks], data.num_classes) if data.heads == "per_task" else None


def _with_outputs(heads: Heads, number: int, task: Task) -> Task:
    def outputs(kind: str, table: ImageTable) -> ImageTable:
        return to_outputs(heads, number, table, f"{kind} CSV of task {number}")

    replay = None if task.replay is None else outputs("replay", task.replay)
    return Task(outputs("train", task.train), outputs("test", task.test), replay)


def open_images(recipe: Recipe, images: Catalog, root: Path) -> tuple[Input, ImageSpec]:
    """The input path that the recipe names, over the images of a catalog."""
    data = recipe.data
    spec = ImageSpec(data.image, data.pad, data.crop, data.mean, data.std, data.flip, data.resize)
    name = choose_input(data.input, len(images.paths), spec, data.device_share)
    return (resident if name == "resident" else pipeline)(root, images, spec), spec


def for_tasks(recipe: Recipe, heads: Heads | None, source: Input) -> Input:
    """`source`, with the outputs and pixel orders of their tasks in its batches, if the recipe has them."""
    data = recipe.data
    pixels = permutations(data.num_tasks, math.prod(data.image[:2]), recipe.seed) if data.permuted else None
    outputs = None if heads is None else head_masks(heads)
    table = TaskTable(*(None if array is None else jnp.asarray(array) for array in (outputs, pixels)))
    return with_tasks(source, table)


def _task_data(recipe: Recipe, rows: SeedRows) -> TaskData:
    data = recipe.data
    return TaskData(
        train=rows.train,
        score=rows.validation if data.evaluate_on == "validation" else rows.test,
        validation=rows.validation,
        memory=_memory(recipe, rows.own, rows.replay),
        counts=class_counts_of(rows.train, data.num_classes),
        own_counts=class_counts_of(rows.own, data.num_classes),
    )


def _memory(recipe: Recipe, own: Rows, replay: Rows | None) -> Rows:
    return own if replay is None or _memory_kind(recipe) == "train" else replay


def _memory_kind(recipe: Recipe) -> str:
    """What methods see of finished tasks: "replay" or "train" rows."""
    if recipe.importance_data != "auto":
        return recipe.importance_data
    return "replay" if recipe.data.replay else "train"


def _refuse_too_few(recipe: Recipe, tasks: tuple[TaskData, ...]) -> None:
    for number, rows in enumerate(tasks):
        wanted = {
            "training": (len(rows.train.index), recipe.data.batch_size, "data.batch_size"),
            recipe.data.evaluate_on: (len(rows.score.index), 1, "data.evaluate_on"),
            _memory_kind(recipe): (len(rows.memory.index), 1, "recipe.importance_data"),
        }
        if recipe.selection != "last":
            wanted["validation"] = (len(rows.validation.index), 1, "data.validation, which recipe.selection needs")
        for what, (images, least, key) in wanted.items():
            if images < least:
                raise Refusal(f"task {number} has {images} {what} images, at least {least} are needed ({key})")
