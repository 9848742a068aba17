"""A run folder as the room `export` wants it: the network, what its manifest says, images to compare it on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.game_recipe import read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.data.heads import ABSENT, Heads, to_outputs
from lifeq_jax.data.tables import ImageTable, concat_tables, read_image_table
from lifeq_jax.export.check import Images, StageWeights
from lifeq_jax.export.image import InputSpec, read_pixels
from lifeq_jax.export.manifest import About
from lifeq_jax.runs.folder import CONFIG
from lifeq_jax.train.build import build_model
from lifeq_jax.train.identity import changed_since, with_own_code
from lifeq_jax.train.reached import notes, reached, stage_of
from lifeq_jax.train.world import read_sequence


class Opened(NamedTuple):
    """A stage of a run folder."""

    recipe: Recipe
    stage: str
    trained: StageWeights
    about: About
    tests: tuple[ImageTable, ...]  # of the tasks, labels are outputs
    notes: tuple[str, ...]  # what a reader has to know, a line each


def open_run(folder: Path, stage_name: str | None = None, after_task: int | None = None) -> Opened:
    """The network that a stage (by default the last) has reached, or had at the end of `after_task`.

    Refuses what has no form in integers."""
    recipe = read_any(folder / CONFIG)
    if not isinstance(recipe, Recipe):
        raise Refusal(f"{folder} is a run of games; export knows networks that classify images")
    recipe = with_own_code(recipe, folder)
    with reached(folder, stage_name, after_task) as checkpoints:
        stage = stage_of(recipe, folder, stage_name)
        _refuse(recipe, stage)
        (params, batch_stats), said = checkpoints.weights(), notes(checkpoints)
        changed = changed_since(folder, recipe, Path(recipe.data.root))
        said += [] if changed is None else [changed]
        items = checkpoints.items()
        frozen = _frozen_bits(recipe, {} if items is None else named_leaves(items.training))
    tasks, heads = read_sequence(recipe, None)
    tests = [task.test for task in tasks]
    if heads is not None:
        tests = [to_outputs(heads, number, test, f"test CSV of task {number}") for number, test in enumerate(tests)]
    about = About(
        input=_input(recipe),
        classes=recipe.data.classes or _classes([task.train for task in tasks], heads, recipe.data.num_classes),
        heads=None if heads is None else tuple(tuple(head[head != ABSENT].tolist()) for head in heads),
        run=_origin(recipe, stage) | {"tasks_learned": len(items.progress.matrix) if items else 0},
        frozen_bits=frozen,
    )
    model = build_model(recipe, stage.weight_bits, stage.act_bits, num_classes=recipe.data.num_classes)
    return Opened(recipe, stage.name, StageWeights(model, params, batch_stats), about, tuple(tests), tuple(said))


FROZEN = "/bits/"  # in the names of what BLIP keeps of each value, methods.blip.Frozen


def _frozen_bits(recipe: Recipe, training: dict[str, Any]) -> dict[str, list[int]] | None:
    """Of each value that BLIP protects, how many have 0, 1, 2, ... frozen bits, by leaf; None for other methods,
    and for the network of a task, beside which BLIP's state is not kept."""
    if recipe.method.name != "blip":
        return None
    found = {name.split(FROZEN, 1)[1]: np.asarray(leaf) for name, leaf in training.items() if FROZEN in name}
    return {name: np.bincount(bits.reshape(-1)).tolist() for name, bits in found.items()} or None


def _refuse(recipe: Recipe, stage: Stage) -> None:
    if stage.weight_bits == 32:
        others = [item.name for item in recipe.stages if item.weight_bits < 32]
        choose = f"choose --stage {' or '.join(others)}" if others else "the run has no stage of 1 to 8 bits"
        raise Refusal(f"stage {stage.name} has weights of 32 bits, nothing to pack; {choose}")
    if recipe.precision != "float32":
        raise Refusal(
            f"recipe.precision={recipe.precision!r}: the network was trained with rounded operands, which integers are "
            "not; only float32 can be exported"
        )
    if recipe.act_quantizer.args.get("normalize"):
        raise Refusal(
            "recipe.act_quantizer.args.normalize=True maps a value by all values of its batch; an exported network "
            "sees one image at a time"
        )
    if recipe.data.permuted:
        raise Refusal("data.permuted=True: every task has its own order of pixels, which files of images do not have")


def _input(recipe: Recipe) -> InputSpec:
    data = recipe.data
    return InputSpec(data.image, data.pad, data.crop, data.mean, data.std, bool(data.resize))


def _classes(trains: Sequence[ImageTable], heads: Heads | None, outputs: int) -> tuple[str, ...]:
    """Of every output the folder that its images lie in; its number where no row has it."""
    names = [str(output) for output in range(outputs)]
    for number, table in enumerate(trains):
        labels, rows = np.unique(table.label, return_index=True)
        for label, row in zip(labels.tolist(), rows.tolist(), strict=True):
            parts = str(table.path[row]).split("/")
            if len(parts) > 1:
                names[label if heads is None else heads[number][label]] = parts[-2]
    return tuple(names)


def _origin(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    parts = {name: getattr(recipe, name) for name in ("model", "weight_quantizer", "act_quantizer")}
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "stage": stage.name,
        "tasks": stage.tasks or recipe.data.num_tasks,
        "weight_bits": stage.weight_bits,
        "act_bits": stage.act_bits,
        "quant_setup": recipe.quant_setup,
        **{name: {"name": part.name, "args": part.args} for name, part in parts.items()},
        "method": recipe.method.name,
        "oscillation": recipe.oscillation.name,
    }


def images_of(opened: Opened, csv: Path | None, task: int | None) -> list[Images]:
    """The rows of `csv`, of task `task`; by default the test images of all tasks, those that tasks share once.

    Refuses a CSV without a task where the tasks differ."""
    data, differ = opened.recipe.data, opened.about.tasks > 0
    if task is not None and task not in range(data.num_tasks):
        raise Refusal(f"--task {task} is not a task of the run; choose from 0 to {data.num_tasks - 1}")
    if csv is not None:
        if differ and task is None:
            raise Refusal(f"--task is missing: the tasks of this run differ; choose from 0 to {data.num_tasks - 1}")
        table = read_image_table(csv, num_classes=data.num_classes, root=Path(data.root))
        if data.heads == "per_task":
            heads = read_sequence(opened.recipe, None)[1]
            assert heads is not None and task is not None
            table = to_outputs(heads, task, table, str(csv))
        return [_images(opened, table, task or 0)]
    chosen = range(data.num_tasks) if task is None else [task]
    if differ:
        return [_images(opened, opened.tests[number], number) for number in chosen]
    return [_images(opened, _once(concat_tables([opened.tests[number] for number in chosen])), 0)]


def _once(table: ImageTable) -> ImageTable:
    _, first = np.unique(table.path, return_index=True)
    return ImageTable(table.path[first], table.label[first])


def _images(opened: Opened, table: ImageTable, task: int) -> Images:
    root, spec, heads = Path(opened.recipe.data.root), opened.about.input, opened.about.heads
    pixels = np.stack([read_pixels(root / path, spec) for path in table.path.tolist()])
    outputs = np.arange(len(opened.about.classes)) if heads is None else np.array(heads[task])
    return Images(pixels, table.label, task, outputs)
