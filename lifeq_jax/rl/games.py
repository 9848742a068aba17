"""What a game is to an agent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import PyTree

Shape = tuple[int, int, int]  # height, width and channels of an observation


class Outcome(NamedTuple):
    """What a step leads to: scalars of one environment, or (N,) of N; arrays of JAX, or of NumPy from the host."""

    reward: Any  # float32, as the game gives it
    done: Any  # bool, nothing that follows counts for the step: a life lost, the game over, a time limit
    truncated: Any  # bool, done by a time limit alone
    over: Any  # bool, the game has ended and a new one has begun


class Game(NamedTuple):
    """A game that is compiled together with the agent: pure functions of one environment."""

    num_actions: int
    shape: Shape
    reset: Callable[[jax.Array], tuple[PyTree, jax.Array]]  # key -> (state, observation (H, W, C) uint8)
    step: Callable[[PyTree, jax.Array, jax.Array], tuple[PyTree, jax.Array, Outcome]]
    """(state, action () int32, key) -> (state, observation, outcome); where the game is over, the new game's"""


class Environments(NamedTuple):
    """N copies of a game that run on the host, in threads of their own."""

    reset: Callable[[int], np.ndarray]  # seed -> observations (N, H, W, C) uint8
    send: Callable[[np.ndarray], None]  # actions (N,) int32; returns at once
    receive: Callable[
        [], tuple[np.ndarray, Outcome]
    ]  # waits for what `send` began; where a game is over, the new one's
    close: Callable[[], None]


class Emulator(NamedTuple):
    """A game that a program on the host plays."""

    num_actions: int
    shape: Shape
    open: Callable[[int], Environments]  # N -> N copies


def begun_anew(
    over: jax.Array, fresh: tuple[PyTree, jax.Array], played: tuple[PyTree, jax.Array]
) -> tuple[PyTree, jax.Array]:
    """(state, observation) of a new game where the old one is `over`, () bool."""
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, played)
