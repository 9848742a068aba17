"""Builds the objects of a recipe of games; the only place in this room that reads its values."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lifeq_jax.core.config import Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games
from lifeq_jax.core.own import is_own
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.quant import LayerBits, bit_table
from lifeq_jax.methods.base import Method, StageStart
from lifeq_jax.models import MODELS
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.optim.schedules import Schedule
from lifeq_jax.rl import make_game
from lifeq_jax.rl.games import Emulator, Game
from lifeq_jax.rl.heads import Head, game_heads
from lifeq_jax.rl.learn import objective
from lifeq_jax.rl.play import Player, Shared, Spans, player, share
from lifeq_jax.rl.ppo import PPO
from lifeq_jax.rl.rollout import ActorCritic
from lifeq_jax.train.build import build_method, build_model, build_optimizer, build_schedule, check_quantizes
from lifeq_jax.train.network import Network, network
from lifeq_jax.train.step import TrainState, fresh_state, make_step


class World(NamedTuple):
    """The games of a recipe, the same for every seed."""

    names: tuple[str, ...]
    games: tuple[Game | Emulator, ...]
    heads: Head  # of all games; arrays with a leading axis of games

    @property
    def num_outputs(self) -> int:
        """Outputs of the network: the actions of all games, and a value for each."""
        return self.heads.classes.shape[1]


class Compiled(NamedTuple):
    """A stage's objects and compiled functions, the same for all seeds; each is compiled when it is first called."""

    number: int  # of the stage, from 0
    stage: Stage
    network: Network
    method: Method
    schedule: Schedule  # of the learning rate
    shared: Shared
    players: tuple[Player, ...]  # of each game, made of `shared`
    begin: Callable[[PyTree], TrainState]  # params -> state before the first step
    begin_task: Callable[[TrainState], TrainState]  # resets optimizer state and step count for a new game


def make_world(recipe: GameRecipe) -> World:
    """The games of a recipe.

    Raises:
        Refusal: a game is unknown, its package is not installed, or it does not have the recipe's shape."""
    games = tuple(make_game(name, recipe.games.image) for name in recipe.games.names)
    return World(recipe.games.names, games, game_heads([game.num_actions for game in games]))


def compile_stage(recipe: GameRecipe, number: int, world: World) -> Compiled:
    """Builds the functions of a stage.

    Raises:
        Refusal: an argument of the recipe is out of range."""
    stage, games = recipe.stages[number], recipe.games
    net, method = build_network(recipe, stage, world), build_method(recipe)
    optimizer = build_optimizer(recipe.optimizer, stage.learning_rate, method)
    ppo = _ppo(games)
    goal = objective(net, method, ppo)
    spans = Spans(games.num_envs, games.rollout_steps, games.updates, games.episodes, games.max_steps)
    shared = share(evaluate_of(net), make_step(goal, net, method, optimizer), goal, ppo, spans)
    steps = stage.epochs * games.updates * games.passes * games.minibatches

    def begin(params: PyTree) -> TrainState:
        start = StageStart(params, stage.tasks or len(world.games), world.num_outputs)
        return fresh_state(method, optimizer, start, {}, jax.numpy.ones(world.num_outputs), steps)

    def begin_task(state: TrainState) -> TrainState:
        fresh = begin(state.params)
        return state._replace(opt_state=fresh.opt_state, step=fresh.step)

    return Compiled(
        number=number,
        stage=stage,
        network=net,
        method=method,
        schedule=build_schedule(recipe.optimizer, stage.learning_rate),
        shared=shared,
        players=tuple(player(game, shared) for game in world.games),
        begin=begin,
        begin_task=begin_task,
    )


def build_network(recipe: GameRecipe, stage: Stage, world: World) -> Network:
    """The pure functions of the recipe's network at the stage's bit-widths."""
    model, plain = (_model(recipe, bits, stage.act_bits, world) for bits in (stage.weight_bits, 32))
    built = network(model, recipe.games.image, plain=plain)
    check_quantizes(recipe, stage, built)
    if variable_shapes(model, recipe.games.image)["batch_stats"]:
        raise Refusal(f"recipe.model.name={recipe.model.name!r} has batch norm, which agents have not")
    return built


def layer_bits(recipe: GameRecipe, stage: Stage) -> dict[str, LayerBits]:
    """The bits of every quantizing layer of the recipe's network in `stage`, by its path, in the order of calls."""
    return bit_table(_model(recipe, stage.weight_bits, stage.act_bits, make_world(recipe)), recipe.games.image)


def _model(recipe: GameRecipe, weight_bits: int, act_bits: int, world: World) -> Any:
    agents = [name for name, maker in MODELS.items() if "num_values" in inspect.signature(maker).parameters]
    if recipe.model.name not in agents and not is_own(recipe.model.name):
        raise Refusal(f"recipe.model.name={recipe.model.name!r} plays no games; choose from {', '.join(agents)}")
    given = dict(num_classes=world.num_outputs, num_values=len(world.games))
    return build_model(recipe, weight_bits, act_bits, **given)


def evaluate_of(net: Network) -> ActorCritic:
    """(params, image) -> outputs."""
    return lambda params, image: net.evaluate(params, image, {}).logits


def _ppo(games: Games) -> PPO:
    return PPO(
        gamma=games.gamma,
        gae_lambda=games.gae_lambda,
        epochs=games.passes,
        minibatches=games.minibatches,
        clip=games.clip,
        value_coef=games.value_coef,
        entropy_coef=games.entropy_coef,
        clip_value=games.clip_value,
        clip_reward=games.clip_reward,
    )
