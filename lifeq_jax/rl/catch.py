"""Three small games of a falling ball and a paddle, which need no package, for tests and first steps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.games import Game, Outcome, Shape, begun_anew

LIVES = 3
BALLS = 20  # time limit of a game


class State(NamedTuple):
    """The state of a game; () int32 each."""

    row: jax.Array  # of the ball
    column: jax.Array
    paddle: jax.Array  # its column, in the last row
    lives: jax.Array
    balls: jax.Array  # number of balls that have landed


class Rules(NamedTuple):
    """The difference between the games."""

    left: int  # columns by which action 0 moves the paddle; action 2 moves it by -left, action 1 not at all
    is_won: Callable[[jax.Array, jax.Array], jax.Array]  # (column of the ball, paddle) -> whether the reward is 1


RULES = {
    "catch": Rules(-1, lambda column, paddle: column == paddle),
    "dodge": Rules(-1, lambda column, paddle: column != paddle),
    "mirror": Rules(1, lambda column, paddle: column == paddle),
}


def catch(name: str, shape: Shape) -> Game:
    """`catch`: be where the ball lands; `dodge`: be elsewhere; `mirror`: catch, with left and right exchanged.

    The reward is 1 for success; otherwise it is -1, and one of 3 lives is lost. The game is over without lives, or
    after 20 balls, which is a time limit. 3 actions; observations (H, W, 1), with a white pixel each for ball and
    paddle. Refuses other names and shapes."""
    rules = lookup(RULES, name, "games.names: catch/")
    height, width, channels = shape
    if not 2 <= width <= height or channels != 1:
        raise Refusal(f"games.image={shape!r} does not fit catch; choose (H, W, 1) with W from 2 to H")

    def draw(state: State) -> jax.Array:
        blank = jnp.zeros(shape, jnp.uint8)
        return blank.at[state.row, state.column, 0].set(255).at[height - 1, state.paddle, 0].set(255)

    def reset(key: jax.Array) -> tuple[State, jax.Array]:
        column, paddle = jax.random.randint(key, (2,), 0, width)
        zero = jnp.zeros((), jnp.int32)
        state = State(zero, column, paddle, zero + LIVES, zero)
        return state, draw(state)

    def step(state: State, action: jax.Array, key: jax.Array) -> tuple[State, jax.Array, Outcome]:
        paddle = jnp.clip(state.paddle - rules.left * (action - 1), 0, width - 1)
        row = state.row + 1
        is_down = row == height - 1
        won = is_down & rules.is_won(state.column, paddle)
        lost = is_down & ~won
        lives, balls = state.lives - lost, state.balls + is_down
        dead, late = lives == 0, balls == BALLS
        column = jnp.where(is_down, jax.random.randint(key, (), 0, width), state.column)
        played = State(jnp.where(is_down, 0, row), column, paddle, lives, balls)
        outcome = Outcome(
            reward=won.astype(jnp.float32) - lost,
            done=lost | late,
            truncated=late & ~lost,
            over=dead | late,
        )
        fresh = reset(jax.random.fold_in(key, 1))
        return *begun_anew(outcome.over, fresh, (played, draw(played))), outcome

    return Game(3, shape, reset, step)
