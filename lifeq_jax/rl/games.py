"""The interface of a game."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import PyTree

Shape = tuple[int, int, int]  # height, width and channels of an observation


class Outcome(NamedTuple):
    """The result of a step: scalars of one environment, or (N,) of N; JAX arrays, or NumPy arrays from the host."""

    reward: Any  # float32, not clipped
    done: Any  # bool, end of the episode: a life lost, the game over, or a time limit
    truncated: Any  # bool, `done` only because of a time limit
    over: Any  # bool, the game has ended and a new one has begun


class Game(NamedTuple):
    """A game that is compiled together with the agent: pure functions of one environment."""

    num_actions: int
    shape: Shape
    reset: Callable[[jax.Array], tuple[PyTree, jax.Array]]  # key -> (state, observation (H, W, C) uint8)
    step: Callable[[PyTree, jax.Array, jax.Array], tuple[PyTree, jax.Array, Outcome]]
    """(state, action () int32, key) -> (state, observation, outcome); after the end, state and observation are those of
    a new game"""


class Environments(NamedTuple):
    """N copies of a game that run on the host, in threads of their own."""

    reset: Callable[[int], np.ndarray]  # seed -> observations (N, H, W, C) uint8
    send: Callable[[np.ndarray], None]  # actions (N,) int32; returns at once
    receive: Callable[[], tuple[np.ndarray, Outcome]]
    """waits for the step begun by `send`; after the end of a game, the observation is that of a new one"""
    close: Callable[[], None]


class Emulator(NamedTuple):
    """A game that runs on the host."""

    num_actions: int
    shape: Shape
    open: Callable[[int], Environments]  # N -> N copies


def begun_anew(
    over: jax.Array, fresh: tuple[PyTree, jax.Array], played: tuple[PyTree, jax.Array]
) -> tuple[PyTree, jax.Array]:
    """(state, observation) of a new game where the old one is `over`, () bool."""
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, played)
