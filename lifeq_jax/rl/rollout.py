"""Acting: steps of play recorded for learning, in compiled programs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.games import Game, Outcome
from lifeq_jax.rl.heads import Choice, Head, Manner, choose
from lifeq_jax.rl.ppo import PPO, Samples, gae, normalized_advantage

ActorCritic = Callable[[PyTree, jax.Array], jax.Array]  # (params, image (B, H, W, C) float32) -> outputs (B, K)


class Rollout(NamedTuple):
    """T steps of N environments, (T, N, ...)."""

    image: Any  # (T, N, H, W, C) uint8, the observation before each action
    choice: Choice
    outcome: Outcome


def pixels(image: jax.Array) -> jax.Array:
    """uint8 observations as inputs of the network: float32, 0 to 1."""
    return image.astype(jnp.float32) / 255.0


class Play(NamedTuple):
    """The state of N copies of a compiled game."""

    state: PyTree
    image: jax.Array  # (N, H, W, C) uint8


def begin(game: Game, num_envs: int, key: jax.Array) -> Play:
    """N new games."""
    return Play(*jax.vmap(game.reset)(jax.random.split(key, num_envs)))


def play_on(
    game: Game,
    evaluate: ActorCritic,
    params: PyTree,
    head: Head,
    play: Play,
    key: jax.Array,
    manner: jax.Array | int = Manner.DRAWN,
) -> tuple[Play, Choice, Outcome]:
    """One step of every copy."""
    of_agent, of_game = jax.random.split(key)
    choice = choose(evaluate(params, pixels(play.image)), head, of_agent, manner)
    keys = jax.random.split(of_game, len(play.image))
    state, image, outcome = jax.vmap(game.step)(play.state, choice.action, keys)
    return Play(state, image), choice, outcome


def rollout(
    game: Game, evaluate: ActorCritic, params: PyTree, head: Head, play: Play, key: jax.Array, steps: int
) -> tuple[Play, Rollout]:
    """`steps` steps of a compiled game, traceable."""

    def one(play: Play, number: jax.Array) -> tuple[Play, Rollout]:
        after, choice, outcome = play_on(game, evaluate, params, head, play, jax.random.fold_in(key, number))
        return after, Rollout(play.image, choice, outcome)

    return jax.lax.scan(one, play, jnp.arange(steps))


def samples_of(played: Rollout, last_value: jax.Array, head: Head, ppo: PPO) -> Samples:
    """The T N steps of a rollout as samples; last_value (N,) is the predicted value of the states after it."""
    value, outcome = played.choice.value, played.outcome
    reward = jnp.sign(outcome.reward) if ppo.clip_reward else outcome.reward
    advantage = gae(reward, value, last_value, outcome.done, outcome.truncated, ppo.gamma, ppo.gae_lambda)
    samples = Samples(
        image=played.image,
        label=played.choice.action + head.first,
        log_prob=played.choice.log_prob,
        value=value,
        returns=advantage + value,
        advantage=normalized_advantage(advantage),
    )
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), samples)


class Returns(NamedTuple):
    """Returns of whole games, sums of rewards without clipping."""

    running: jax.Array  # (N,) float32, return so far of the current games
    total: jax.Array  # () float32, sum over all games that have ended
    games: jax.Array  # () float32, number of games that have ended


def no_returns(num_envs: int) -> Returns:
    """The returns before the first step."""
    return Returns(jnp.zeros(num_envs), jnp.zeros(()), jnp.zeros(()))


def add_returns(so_far: Returns, outcome: Outcome) -> Returns:
    """The returns after further steps, (T, N) each."""

    def one(so_far: Returns, step: tuple[jax.Array, jax.Array]) -> tuple[Returns, None]:
        reward, over = step
        running = so_far.running + reward
        total, games = (jnp.sum(jnp.where(over, part, 0.0)) for part in (running, jnp.ones_like(running)))
        return Returns(jnp.where(over, 0.0, running), so_far.total + total, so_far.games + games), None

    return jax.lax.scan(one, so_far, (outcome.reward, outcome.over))[0]
