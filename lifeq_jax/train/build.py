"""Names to objects: the only place that reads a recipe's values."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from lifeq_jax.core.config import Part, Recipe, Scalar, Stage, check_type
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.quant import LayerBits, bit_table
from lifeq_jax.layers.setups import SETUPS, quantizers
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Loss
from lifeq_jax.methods import METHODS, OSCILLATIONS
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.combine import combine
from lifeq_jax.models import MODELS
from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import SCHEDULES, Schedule
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.train.network import Network, network

TABLES: dict[str, dict[str, Callable]] = {
    "model": MODELS,
    "method": METHODS,
    "weight_quantizer": QUANTIZERS,
    "act_quantizer": QUANTIZERS,
    "oscillation": OSCILLATIONS,
    "loss": LOSSES,
}


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


def build_stage(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Built:
    """The network, method, optimizer and loss of one stage, none of which holds any array of parameters.

    `axis_name`: of the devices over which batch norm is synchronized where the recipe says so.

    The method's state is the pair (state of the continual-learning method, state of the oscillation control)."""
    optimizer = recipe.optimizer
    built = build_network(recipe, stage, axis_name if recipe.sync_norm else None)
    control = _make(recipe.oscillation, OSCILLATIONS, "oscillation", table=built.table)
    method = combine(_make(recipe.method, METHODS, "method"), control)

    def schedule(rate: float) -> Schedule:
        return SCHEDULES[optimizer.schedule](rate, optimizer.milestones, optimizer.factor)

    weights = sgd(schedule(stage.learning_rate), optimizer.momentum, optimizer.weight_decay)
    learned = adam(schedule(optimizer.learned_rate))
    return Built(
        network=built,
        method=method,
        optimizer=chain(method.gradients, weights, learned, method.constraint, optimizer.max_norm),
        loss=_make(recipe.loss, LOSSES, "loss"),
        schedule=schedule(stage.learning_rate),
    )


def build_network(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Network:
    """The pure functions of the recipe's network at the stage's bit-widths."""
    model, plain = (_model(recipe, bits, stage.act_bits, None) for bits in (stage.weight_bits, 32))
    shared = _model(recipe, stage.weight_bits, stage.act_bits, axis_name)
    return network(model, _image_shape(recipe), plain=plain, shared=shared)


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
