"""MinAtar: five Atari games in miniature, compiled with the agent (package pgx, extra `rl`)."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.games import Game, Outcome, Shape, begun_anew

NAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SIDE = 10


def minatar_game(name: str, shape: Shape) -> Game:
    """A row of NAMES in pgx's version: minimal action set; an action is replaced by the last one with probability 0.1.

    Observations (10, 10, C): 255 where the channel has an object; C may exceed the game's channels, the rest is 0. One
    life; pgx has no time limit but freeway's, which it reports as an end. Source: Young and Tian, MinAtar, 2019;
    Koyamada et al., Pgx, NeurIPS 2023. Refuses other names and shapes, and a missing pgx, saying how to install it."""
    check_choice(NAMES, name, "games.names: minatar/")
    try:
        import pgx
    except ImportError as error:
        raise Refusal(f"games.names: minatar/{name} needs pgx; install it with pip install 'lifeq_jax[rl]'") from error
    env = pgx.make(f"minatar-{name}")
    own = env.observation_shape[-1]
    if shape[:2] != (SIDE, SIDE) or shape[2] < own:
        raise Refusal(
            f"games.image={shape!r} does not fit minatar/{name}; choose ({SIDE}, {SIDE}, C) with C from {own} up"
        )

    def seen(state: PyTree) -> jax.Array:
        pixels = state.observation.astype(jnp.uint8) * jnp.uint8(255)
        return jnp.pad(pixels, ((0, 0), (0, 0), (0, shape[2] - own)))

    def reset(key: jax.Array) -> tuple[PyTree, jax.Array]:
        state = env.init(key)
        return state, seen(state)

    def step(state: PyTree, action: jax.Array, key: jax.Array) -> tuple[PyTree, jax.Array, Outcome]:
        played = env.step(state, action, key)
        over = played.terminated | played.truncated
        outcome = Outcome(played.rewards[0], over, played.truncated & ~played.terminated, over)
        return *begun_anew(over, reset(jax.random.fold_in(key, 1)), (played, seen(played))), outcome

    return Game(env.num_actions, shape, reset, step)
