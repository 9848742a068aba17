"""Names to objects: the only place that reads a recipe's values."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import optax
from flax import linen as nn

from lifeq_jax.core.config import Optimizer, Part, Recipe, Scalar, Stage, check_type
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.own import is_own, own_maker
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.quant import LayerBits, bit_table
from lifeq_jax.layers.setups import SETUPS, quantizers
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Loss
from lifeq_jax.methods import DISTILLATIONS, METHODS, OSCILLATIONS
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.combine import combine
from lifeq_jax.models import MODELS
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import SCHEDULES, Schedule
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import Quantizer
from lifeq_jax.train.network import Network, network

TABLES: dict[str, dict[str, Callable]] = {
    "model": MODELS,
    "method": METHODS,
    "weight_quantizer": QUANTIZERS,
    "act_quantizer": QUANTIZERS,
    "distillation": DISTILLATIONS,
    "oscillation": OSCILLATIONS,
    "loss": LOSSES,
}


KINDS: dict[str, Any] = {  # what the makers return
    "model": nn.Module,
    "method": Method,
    "weight_quantizer": Quantizer,
    "act_quantizer": Quantizer,
    "oscillation": Method,
    "loss": Callable,
}


class Built(NamedTuple):
    """The objects of one stage."""

    network: Network
    method: Method
    optimizer: optax.GradientTransformationExtraArgs
    loss: Loss
    schedule: Schedule  # of the learning rate


R = TypeVar("R", Recipe, GameRecipe)


def complete(recipe: R) -> R:
    """The recipe with every argument of its parts written out; refuses unknown rows, arguments and types."""
    lookup(SETUPS, recipe.quant_setup, "recipe.quant_setup")
    filled: dict[str, Any] = {
        name: _complete_part(getattr(recipe, name), table, name)
        for name, table in TABLES.items()
        if hasattr(recipe, name)
    }
    return dataclasses.replace(recipe, **filled)


def arguments(part: Part, table: dict[str, Callable], key: str) -> dict[str, Scalar]:
    """The arguments a recipe may set of one row, with their defaults."""
    parameters = inspect.signature(_maker(part, table, key)).parameters
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


def _maker(part: Part, table: dict[str, Callable], key: str) -> Callable:
    where = f"recipe.{key}.name"
    return own_maker(part.name, where) if is_own(part.name) else lookup(table, part.name, where)


def _make(part: Part, table: dict[str, Callable], key: str, /, **given: Any) -> Any:
    maker = _maker(part, table, key)
    if not is_own(part.name):
        return maker(**given, **part.args)
    where = f"recipe.{key}.name={part.name!r}"
    try:
        inspect.signature(maker).bind(**given, **part.args)
    except TypeError as error:
        raise Refusal(f"{where} is called with {', '.join(given | part.args) or 'nothing'}: {error}") from None
    made = maker(**given, **part.args)
    if not isinstance(made, KINDS[key]):
        wanted = getattr(KINDS[key], "__name__", "function")
        raise Refusal(f"{where} returns a {type(made).__name__}, not a {wanted}")
    return made


def build_stage(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Built:
    """The network, method, optimizer and loss of one stage; none of them holds parameters.

    `axis_name`: the mapped axis of the devices, over which batch norm is synchronized if the recipe says so.

    The method's state is a tuple: of the continual-learning method, of the distillation, of the oscillation control."""
    built = build_network(recipe, stage, axis_name if recipe.sync_norm else None)
    control = _make(recipe.oscillation, OSCILLATIONS, "oscillation", table=built.table)
    method = combine(build_method(recipe), _distillation(recipe, stage), control)
    return Built(
        network=built,
        method=method,
        optimizer=build_optimizer(recipe.optimizer, stage.learning_rate, method),
        loss=_make(recipe.loss, LOSSES, "loss"),
        schedule=build_schedule(recipe.optimizer, stage.learning_rate),
    )


def build_method(recipe: Recipe | GameRecipe) -> Method:
    """The continual-learning method.

    Raises:
        Refusal: it needs replayed images, and the recipe has none."""
    method = _make(recipe.method, METHODS, "method")
    if method.needs_replay and (isinstance(recipe, GameRecipe) or not recipe.data.replay):
        said = "which games have not" if isinstance(recipe, GameRecipe) else "data.replay=True"
        raise Refusal(f"recipe.method.name={recipe.method.name!r} needs replayed images ({said})")
    return method


def build_schedule(optimizer: Optimizer, rate: float) -> Schedule:
    """The learning-rate schedule of a task that begins with `rate`."""
    return SCHEDULES[optimizer.schedule](rate, optimizer.milestones, optimizer.factor)


def build_optimizer(optimizer: Optimizer, rate: float, method: Method) -> optax.GradientTransformationExtraArgs:
    """The whole chain, the links of `method` in it."""
    schedule = build_schedule(optimizer, rate)
    if optimizer.kind == "adam":
        weights = adam_by_progress(schedule, optimizer.epsilon, optimizer.weight_decay)
    else:
        weights = sgd_by_progress(schedule, optimizer.momentum, optimizer.weight_decay)
    learned = adam_by_progress(build_schedule(optimizer, optimizer.learned_rate))
    return method_chain(method.gradients, weights, learned, method.constraint, optimizer.max_norm)


def _distillation(recipe: Recipe, stage: Stage) -> Method:
    part = recipe.distillation
    if part.name == "none" or is_float(stage):
        return Method()
    before = recipe.stages[: recipe.stages.index(stage)]
    if not recipe.start and not any(map(is_float, before)):
        raise Refusal(
            f"recipe.distillation.name={part.name!r} needs a float stage before {stage.name!r}, or recipe.start"
        )
    network = build_network(recipe, dataclasses.replace(stage, weight_bits=32, act_bits=32))
    return _make(part, DISTILLATIONS, "distillation", evaluate=network.evaluate)


def is_float(stage: Stage) -> bool:
    """Whether nothing is quantized in a stage."""
    return stage.weight_bits == stage.act_bits == 32


def build_network(recipe: Recipe, stage: Stage, axis_name: str | None = None) -> Network:
    """The pure functions of the recipe's network at the stage's bit-widths."""
    given = dict(num_classes=recipe.data.num_classes)
    model, plain = (build_model(recipe, bits, stage.act_bits, **given) for bits in (stage.weight_bits, 32))
    shared = build_model(recipe, stage.weight_bits, stage.act_bits, axis_name=axis_name, **given)
    built = network(model, image_shape(recipe), plain=plain, shared=shared)
    check_quantizes(recipe, stage, built)
    return built


def check_quantizes(recipe: Recipe | GameRecipe, stage: Stage, built: Network) -> None:
    """Refuses a network of one's own that stays in floating point in a stage of fewer bits."""
    if is_own(recipe.model.name) and stage.weight_bits != 32 and not built.table:
        raise Refusal(
            f"recipe.model.name={recipe.model.name!r}: stage {stage.name} has {stage.weight_bits}-bit weights, and "
            f"none of its layers quantizes any under {recipe.quant_setup!r}; make them of ConvUnit and DenseUnit"
        )


def layer_bits(recipe: Recipe, stage: Stage) -> dict[str, LayerBits]:
    """The bits of every quantizing layer of the recipe's network in `stage`, by its path, in the order of calls."""
    model = build_model(recipe, stage.weight_bits, stage.act_bits, num_classes=recipe.data.num_classes)
    return bit_table(model, image_shape(recipe))


def image_shape(recipe: Recipe) -> tuple[int, int, int]:
    """(H, W, C) of what the recipe's network sees."""
    return (*recipe.data.crop, recipe.data.image[2])


def build_model(recipe: Recipe | GameRecipe, weight_bits: int, act_bits: int, **given: Any) -> Any:
    """The recipe's network as a Flax module; `given`: arguments of its maker that a recipe cannot set."""
    chosen = quantizers(
        recipe.quant_setup,
        lambda bits: _make(recipe.weight_quantizer, QUANTIZERS, "weight_quantizer", bits=bits),
        lambda bits: _make(recipe.act_quantizer, QUANTIZERS, "act_quantizer", bits=bits),
        weight_bits,
        act_bits,
        recipe.precision,
    )
    return _make(recipe.model, MODELS, "model", quantizers=chosen, **given)
