"""Names to objects: the only place that reads a recipe's values."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lifeq_jax.core.config import Part, Recipe, Scalar, Stage, check_type
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.heads import Heads, heads_of, outputs_of, to_outputs
from lifeq_jax.data.inputs import Input, TaskTable, with_tasks
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.permute import permutations
from lifeq_jax.data.pipeline import pipeline
from lifeq_jax.data.resident import choose_input, resident
from lifeq_jax.data.tables import (
    Catalog,
    Rows,
    Table,
    Task,
    catalog,
    class_counts_of,
    load_tasks,
    rows_of,
    split_validation,
    training_rows,
)
from lifeq_jax.layers.quant import LayerBits, bit_table, observe_ranges, quantizer_table
from lifeq_jax.layers.setups import SETUPS, quantizers
from lifeq_jax.layers.taps import squared_gradients
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Loss
from lifeq_jax.methods import METHODS, OSCILLATIONS
from lifeq_jax.methods.base import Method, Outputs
from lifeq_jax.methods.combine import combine
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import SCHEDULES, Schedule
from lifeq_jax.quant import QUANTIZERS, codes
from lifeq_jax.train.mesh import Devices, devices_for
from lifeq_jax.train.step import Network

TABLES: dict[str, dict[str, Callable]] = {
    "model": MODELS,
    "method": METHODS,
    "weight_quantizer": QUANTIZERS,
    "act_quantizer": QUANTIZERS,
    "oscillation": OSCILLATIONS,
    "loss": LOSSES,
}


class TaskRows(NamedTuple):
    """The rows of one task."""

    train: Rows  # with the replay of the tasks before
    score: Rows  # what its column of the accuracy matrix is measured on
    validation: Rows  # held out of `train`; empty without a validation split
    memory: Rows  # what a method may look at when the task is over
    counts: np.ndarray  # (K,) float32, images of each class in `train`


class World(NamedTuple):
    """The data of a recipe."""

    tasks: tuple[TaskRows, ...]  # labels are outputs of the network
    images: Input
    input: Input  # `images` with what distinguishes the tasks
    spec: ImageSpec
    devices: Devices


class Built(NamedTuple):
    """The objects of one stage."""

    network: Network
    method: Method
    optimizer: optax.GradientTransformationExtraArgs
    loss: Loss
    schedule: Callable[[jax.Array], jax.Array]  # share of the task done, 0..1 -> learning rate


def complete(recipe: Recipe) -> Recipe:
    """The recipe with every argument of its parts written out; refuses unknown rows, arguments and types."""
    lookup(SETUPS, recipe.quant_setup, "recipe.quant_setup")
    filled: dict[str, Any] = {
        name: _complete_part(getattr(recipe, name), table, name) for name, table in TABLES.items()
    }
    return dataclasses.replace(recipe, **filled)


def arguments(part: Part, table: dict[str, Callable], key: str) -> dict[str, Scalar]:
    """The arguments a recipe may set of one row, with their defaults."""
    parameters = inspect.signature(lookup(table, part.name, f"recipe.{key}.name")).parameters
    return {name: item.default for name, item in parameters.items() if isinstance(item.default, Scalar)}


def _complete_part(part: Part, table: dict[str, Callable], key: str) -> Part:
    defaults = arguments(part, table, key)
    for name, value in part.args.items():
        where = f"{key}.args.{name}"
        if name not in defaults:
            choices = ", ".join(sorted(defaults)) or "none"
            raise Refusal(f"recipe.{where}={value!r} is no argument of {part.name!r}; it takes: {choices}")
        check_type(f"recipe.{where}", value, type(defaults[name]))
    return Part(part.name, {**defaults, **part.args})


def _make(part: Part, table: dict[str, Callable], key: str, /, **given: Any) -> Any:
    return lookup(table, part.name, f"recipe.{key}.name")(**given, **part.args)


def build_world(recipe: Recipe, like: World | None = None) -> World:
    """Reads the CSV files of all tasks and opens the images; or takes those of a world of another seed, `like`."""
    data, root = recipe.data, Path(recipe.data.root)
    if not root.is_dir():
        raise Refusal(f"data.root={data.root!r} is not a folder; `lifeq-jax data prepare` makes one")
    tasks, heads = read_sequence(recipe, root)
    images = catalog([table for task in tasks for table in task if table is not None])
    if heads is not None:
        tasks = tuple(_with_outputs(heads, number, task) for number, task in enumerate(tasks))
    rows = _rows(recipe, tasks, images)
    _refuse_too_few(recipe, rows)
    devices = devices_for(recipe.parallel, data.batch_size)
    source, spec = (like.images, like.spec) if like else open_images(recipe, images, root)
    return World(rows, source, for_tasks(recipe, heads, source), spec, devices)


def read_sequence(recipe: Recipe, root: Path | None) -> tuple[tuple[Task, ...], Heads | None]:
    """The CSV files of all tasks, their images under `root` checked, and the outputs of each task; None where all tasks
    share one head."""
    data = recipe.data
    number = 1 if data.permuted else data.num_tasks
    tasks = load_tasks(Path(data.csv), number, root=root, num_classes=data.num_classes, replay=data.replay)
    tasks *= data.num_tasks // number
    return tasks, heads_of([task.train for task in tasks], data.num_classes) if data.heads == "per_task" else None


def _with_outputs(heads: Heads, number: int, task: Task) -> Task:
    def outputs(kind: str, table: Table) -> Table:
        return to_outputs(heads, number, table, f"{kind} CSV of task {number}")

    replay = None if task.replay is None else outputs("replay", task.replay)
    return Task(outputs("train", task.train), outputs("test", task.test), replay)


def _refuse_too_few(recipe: Recipe, tasks: tuple[TaskRows, ...]) -> None:
    for number, rows in enumerate(tasks):
        wanted = {
            "training": (len(rows.train.index), recipe.data.batch_size, "data.batch_size"),
            recipe.data.evaluate_on: (len(rows.score.index), 1, "data.evaluate_on"),
            recipe.importance_data: (len(rows.memory.index), 1, "recipe.importance_data"),
        }
        for what, (images, least, key) in wanted.items():
            if images < least:
                raise Refusal(f"task {number} has {images} {what} images, at least {least} are needed ({key})")


def open_images(recipe: Recipe, images: Catalog, root: Path) -> tuple[Input, ImageSpec]:
    """The input path that the recipe names, over the images of a catalog."""
    data = recipe.data
    spec = ImageSpec(data.image, data.pad, data.crop, data.mean, data.std, data.flip, data.resize)
    name = choose_input(data.input, len(images.paths), spec, data.device_share)
    return (resident if name == "resident" else pipeline)(root, images, spec), spec


def for_tasks(recipe: Recipe, heads: Heads | None, source: Input) -> Input:
    """`source`, whose batches know the outputs and the pixels of their tasks where the recipe has such."""
    data = recipe.data
    pixels = permutations(data.num_tasks, math.prod(data.image[:2]), recipe.seed) if data.permuted else None
    outputs = None if heads is None else outputs_of(heads)
    table = TaskTable(*(None if array is None else jnp.asarray(array) for array in (outputs, pixels)))
    return with_tasks(source, table)


def _rows(recipe: Recipe, tasks: tuple[Task, ...], images: Catalog) -> tuple[TaskRows, ...]:
    data, seed = recipe.data, recipe.seed

    def kept(table: Table) -> Table:
        return split_validation(table, data.validation, seed)[0]

    held_out = [split_validation(task.train, data.validation, seed)[1] for task in tasks]
    tasks = tuple(
        Task(kept(task.train), task.test, None if task.replay is None else kept(task.replay)) for task in tasks
    )

    def rows_of_task(t: int, task: Task) -> TaskRows:
        train = training_rows(images, tasks, t)
        memory = task.train if task.replay is None or recipe.importance_data == "train" else task.replay
        validation = rows_of(images, held_out[t], t, False)
        return TaskRows(
            train=train,
            score=validation if data.evaluate_on == "validation" else rows_of(images, task.test, t, False),
            validation=validation,
            memory=rows_of(images, memory, t, memory is not task.train),
            counts=class_counts_of(train, data.num_classes),
        )

    return tuple(rows_of_task(t, task) for t, task in enumerate(tasks))


def build_stage(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Built:
    """The network, method, optimizer and loss of one stage, none of which holds any array of parameters.

    `axis_name`: of the devices over which batch norm is synchronized where the recipe says so.

    The method's state is the pair (state of the continual-learning method, state of the oscillation control)."""
    optimizer = recipe.optimizer
    network = build_network(recipe, stage, axis_name if recipe.sync_norm else None)
    control = _make(recipe.oscillation, OSCILLATIONS, "oscillation", table=network.table)
    method = combine(_make(recipe.method, METHODS, "method"), control)

    def schedule(rate: float) -> Schedule:
        return SCHEDULES[optimizer.schedule](rate, optimizer.milestones, optimizer.factor)

    weights = sgd(schedule(stage.learning_rate), optimizer.momentum, optimizer.weight_decay)
    return Built(
        network=network,
        method=method,
        optimizer=chain(method.gradients, weights, adam(schedule(optimizer.learned_rate)), method.constraint),
        loss=_make(recipe.loss, LOSSES, "loss"),
        schedule=schedule(stage.learning_rate),
    )


def build_network(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Network:
    """The pure functions of the recipe's network at the stage's bit-widths."""
    model, plain = (_model(recipe, bits, stage.act_bits, None) for bits in (stage.weight_bits, 32))
    shared = _model(recipe, stage.weight_bits, stage.act_bits, axis_name)
    return _network(model, plain, shared, _image_shape(recipe))


def layer_bits(recipe: Recipe, stage: Stage) -> dict[str, LayerBits]:
    """The bits of every quantizing layer of the recipe's network in `stage`, by its path, in the order of calls."""
    model = _model(recipe, stage.weight_bits, stage.act_bits, None)
    return bit_table(model, _image_shape(recipe))


def _image_shape(recipe: Recipe) -> tuple[int, int, int]:
    return (*recipe.data.crop, recipe.data.image[2])


def _model(recipe: Recipe, weight_bits: int, act_bits: int, axis_name: str | None) -> Any:
    chosen = quantizers(
        recipe.quant_setup,
        lambda bits: _make(recipe.weight_quantizer, QUANTIZERS, "weight_quantizer", bits=bits),
        lambda bits: _make(recipe.act_quantizer, QUANTIZERS, "act_quantizer", bits=bits),
        weight_bits,
        act_bits,
        recipe.precision,
    )
    given = dict(num_classes=recipe.data.num_classes, quantizers=chosen, axis_name=axis_name)
    return _make(recipe.model, MODELS, "model", **given)


def _network(model: Any, plain: Any, shared: Any, image_shape: tuple[int, int, int]) -> Network:
    """`plain` quantizes no weights; `shared` trains on a part of a batch, where `model` sees all of one."""

    def init(seed: int) -> tuple[PyTree, PyTree]:
        variables = initialize(model, seed, image_shape)
        return variables["params"], variables["batch_stats"]

    def evaluate(which: Any) -> Callable[[PyTree, jax.Array, PyTree], Outputs]:
        def outputs(params: PyTree, image: jax.Array, batch_stats: PyTree) -> Outputs:
            variables = {"params": params, "batch_stats": batch_stats}
            feature = which.apply(variables, image, train=False, method="features")
            return Outputs(which.apply(variables, feature, method="head"), feature)

        return outputs

    def squares(which: Any) -> Callable[..., PyTree | None]:
        def sums(
            params: PyTree,
            image: jax.Array,
            values: Callable[[Outputs], jax.Array],
            weight: jax.Array,
            batch_stats: PyTree,
        ) -> PyTree | None:
            def apply(params: PyTree, image: jax.Array) -> Outputs:
                return evaluate(which)(params, image, batch_stats)

            return squared_gradients(apply, params, image, values, weight)

        return sums

    def train(
        params: PyTree,
        batch_stats: PyTree,
        image: jax.Array,
        share: jax.Array,
        key: jax.Array,
        fixed_norm: bool,
    ) -> tuple[Outputs, PyTree]:
        def outputs(module: Any, image: jax.Array) -> Outputs:
            feature = module.features(image, train=not fixed_norm)
            return Outputs(module.head(feature), feature)

        variables = {"params": params, "batch_stats": batch_stats}
        of_batch = shared.clone(quantizers=shared.quantizers.of_batch(share))
        streams = {"noise": key, "dropout": jax.random.fold_in(key, 1)}
        how: dict[str, Any] = dict(mutable=["batch_stats"], rngs=streams, method=outputs)
        found, new = of_batch.apply(variables, image, **how)
        return found, new["batch_stats"]

    def moments(params: PyTree, image: jax.Array) -> PyTree:
        _, new = model.apply({"params": params}, image, train=True, mutable=["batch_stats", "moments"])
        return new.get("moments", {})  # a network without batch norm has none

    def ranges(params: PyTree, batch_stats: PyTree, so_far: PyTree, image: jax.Array) -> tuple[PyTree, PyTree]:
        return observe_ranges(model, {"params": params, "batch_stats": batch_stats}, so_far, image)

    shapes = variable_shapes(model, image_shape)
    table = quantizer_table(model, image_shape)
    return Network(
        init=init,
        train=train,
        moments=moments,
        observe_ranges=ranges,
        evaluate=evaluate(model),
        evaluate_weights=evaluate(plain),
        squares=squares(model),
        squares_weights=squares(plain),
        head=lambda params, feature: model.apply({"params": params}, feature, method="head"),
        quantize=lambda params: codes.quantize(table, params),
        table=table,
        quantized=codes.mask(table, shapes["params"]),
    )
