"""Evaluation: the returns of one whole game in each of N environments, up to a number of steps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.games import Emulator, Game, Outcome
from lifeq_jax.rl.heads import Head
from lifeq_jax.rl.host import Act, seed_of
from lifeq_jax.rl.rollout import ActorCritic, Play, begin, play_on


class Scores(NamedTuple):
    """The results of N games, one in each environment; rewards are not clipped."""

    returns: np.ndarray  # (N,) float32; of an unfinished game, up to the last step
    finished: np.ndarray  # (N,) bool, whether the game has ended
    steps: np.ndarray  # (N,) int32, steps of the game

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(np.mean(self.returns, dtype=np.float64))

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN for one game."""
        if len(self.returns) < 2:
            return float("nan")
        return float(np.std(self.returns, ddof=1, dtype=np.float64) / np.sqrt(len(self.returns)))


def nothing_yet(num_envs: int) -> Scores:
    """The scores before the first step."""
    return Scores(np.zeros(num_envs, np.float32), np.zeros(num_envs, bool), np.zeros(num_envs, np.int32))


def add_outcome(so_far: Scores, outcome: Outcome) -> Scores:
    """The scores after a step; those of a game that has ended do not change when a new one begins."""
    under_way = ~so_far.finished
    return Scores(so_far.returns + outcome.reward * under_way, so_far.finished | outcome.over, so_far.steps + under_way)


def make_score(
    game: Game, evaluate: ActorCritic, num_envs: int, max_steps: int
) -> Callable[[PyTree, Head, jax.Array, int], Scores]:
    """Makes the function (params, head, key, manner) -> scores of a compiled game; it stops when all games have
    ended."""

    def score(params: PyTree, head: Head, key: jax.Array, manner: jax.Array) -> Scores:
        def goes_on(carry: tuple[jax.Array, Play, Scores]) -> jax.Array:
            step, _, scores = carry
            return (step < max_steps) & ~jnp.all(scores.finished)

        def one(carry: tuple[jax.Array, Play, Scores]) -> tuple[jax.Array, Play, Scores]:
            step, play, scores = carry
            after, _, outcome = play_on(game, evaluate, params, head, play, jax.random.fold_in(key, step), manner)
            return step + 1, after, add_outcome(scores, outcome)

        start = jax.tree.map(jnp.asarray, nothing_yet(num_envs))
        first = begin(game, num_envs, jax.random.fold_in(key, max_steps))
        return jax.lax.while_loop(goes_on, one, (jnp.zeros((), jnp.int32), first, start))[2]

    return jax.jit(score)


def score_on_host(
    act: Act, params: PyTree, head: Head, game: Emulator, num_envs: int, max_steps: int, key: jax.Array, manner: int
) -> Scores:
    """The scores of a game on the host."""
    envs, scores = game.open(num_envs), nothing_yet(num_envs)
    try:
        image = envs.reset(seed_of(key))
        for step in range(max_steps):
            if scores.finished.all():
                break
            envs.send(jax.device_get(act(params, image, head, key, step, manner)).action)
            image, outcome = envs.receive()
            scores = add_outcome(scores, outcome)
    finally:
        envs.close()
    return scores
