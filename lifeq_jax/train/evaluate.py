"""Evaluates a trained stage on the images of any CSV."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.heads import to_outputs
from lifeq_jax.data.tables import catalog, naming_rows, read_image_table, rows_of
from lifeq_jax.metrics.classify import balanced_accuracy, per_class_accuracy
from lifeq_jax.models.loading import refuse_misfits
from lifeq_jax.runs.classes import most_training_images
from lifeq_jax.runs.columns import CLASSES
from lifeq_jax.runs.folder import CONFIG
from lifeq_jax.train.build import build_network
from lifeq_jax.train.classify import make_score
from lifeq_jax.train.identity import changed_since, with_own_code
from lifeq_jax.train.loop import evaluate_rows, score_feeds_of
from lifeq_jax.train.mesh import Devices
from lifeq_jax.train.reached import notes, reached, stage_of
from lifeq_jax.train.world import World, for_tasks, open_images, read_sequence


class Evaluation(NamedTuple):
    """The scores of a network on a set of images. Accuracies are shares, 0 to 1."""

    stage: str
    bits: tuple[int, int]  # of weights, of activations
    images: int
    loss: float  # mean cross-entropy, nats
    accuracy: float
    balanced_accuracy: float  # mean over the classes that occur
    per_class: np.ndarray  # (K,), NaN for a class without images
    class_names: tuple[str, ...]  # K
    train_images: np.ndarray | None  # (K,) int64, of `most_training_images`; None before a task has been finished
    notes: tuple[str, ...]  # warnings about the numbers, a line each


def evaluate_run(
    folder: Path,
    csv: Path,
    *,
    root: Path | None = None,
    stage: str | None = None,
    task: int | None = None,
    after_task: int | None = None,
) -> Evaluation:
    """Scores the parameters that `stage` (by default the last) of a run has reached, or had at the end of `after_task`,
    on every row of `csv`.

    `root` is the folder the CSV's paths are relative to, by default that of the recipe. `task` is the task of the
    images; it must be given if tasks differ in more than their rows (heads per task, permuted pixels, normalization by
    task), and is refused if missing there."""
    recipe = with_own_code(read_recipe(folder / CONFIG), folder)
    with reached(folder, stage, after_task) as checkpoints:
        (params, batch_stats), said = checkpoints.weights(), notes(checkpoints)
    chosen = stage_of(recipe, folder, stage)
    network = build_network(recipe, chosen)
    refuse_misfits((params, batch_stats), network.init(recipe.seed))
    where = root or Path(recipe.data.root)
    number = _task_of(recipe, task)
    table = read_image_table(csv, num_classes=recipe.data.num_classes, root=where)
    heads = read_sequence(recipe, None)[1] if recipe.data.heads == "per_task" else None
    if heads is not None:
        table = to_outputs(heads, number, table, str(csv))
    images = catalog([table])
    with naming_rows([csv]):
        source, spec = open_images(recipe, images, where)
        source = for_tasks(recipe, heads, source)
        world = World((), source, source.constants, spec, Devices(), recipe.data.batch_size, recipe.data.num_classes)
        score_feeds = jax.jit(score_feeds_of(make_score(network), source))
        score = evaluate_rows(score_feeds, world, rows_of(images, table, number, False), params, batch_stats)
    matrix = np.asarray(score.confusion)
    changed = changed_since(folder, recipe, where)
    return Evaluation(
        stage=chosen.name,
        bits=(chosen.weight_bits, chosen.act_bits),
        images=int(matrix.sum()),
        loss=float(score.loss / matrix.sum()),
        accuracy=score.accuracy,
        balanced_accuracy=balanced_accuracy(matrix),
        per_class=per_class_accuracy(matrix),
        class_names=recipe.data.class_names,
        train_images=most_training_images(folder / CLASSES, chosen.name, recipe.data.num_classes, after_task),
        notes=(*said, *([] if changed is None else [changed])),
    )


def _task_of(recipe: Recipe, task: int | None) -> int:
    data = recipe.data
    differ = data.heads == "per_task" or data.permuted or len(data.mean) > data.image[2]
    if task is None and differ:
        raise Refusal(f"--task is missing: the tasks of this run differ; choose from 0 to {data.num_tasks - 1}")
    if task is not None and task not in range(data.num_tasks):
        raise Refusal(f"--task {task} is not a task of the run; choose from 0 to {data.num_tasks - 1}")
    return task or 0
