"""What tests of training begin with."""

import jax.numpy as jnp

from lifeq_jax.core.config import Recipe
from lifeq_jax.methods.base import StageStart
from lifeq_jax.train.build import Built, complete
from lifeq_jax.train.stage import Moment, Watch
from lifeq_jax.train.step import TrainState, fresh_state
from lifeq_jax.train.world import World, make_world, read_source


def silent(line: str) -> None:
    """A log that nobody reads."""


def stopping(kind: str, number: int) -> Watch:
    """A watch that interrupts the run at its `number`-th moment of a kind."""
    calls = []

    def watch(moment: Moment) -> None:
        calls.extend([None] * (moment.kind == kind))
        if len(calls) == number:
            raise KeyboardInterrupt

    return watch


def world_of(recipe: Recipe) -> World:
    """The data of a recipe."""
    recipe = complete(recipe)
    return make_world(recipe, read_source(recipe))


def state_of(built: Built, seed: int = 0, num_classes: int = 10, num_steps: int = 10) -> TrainState:
    """The state before a task of class counts 1, 2, ..."""
    params, batch_stats = built.network.init(seed)
    start, counts = StageStart(params, 1, num_classes), jnp.arange(1.0, num_classes + 1)
    return fresh_state(built.method, built.optimizer, start, batch_stats, counts, num_steps)
