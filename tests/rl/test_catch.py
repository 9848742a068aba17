import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl import make_game
from lifeq_jax.rl.catch import BALLS, LIVES, RULES

SHAPE = (5, 3, 1)
FALL = SHAPE[0] - 1  # steps a ball takes


def play(name, policy, steps, seed=0):
    """Outcomes (steps,) and observations of one game after another; policy: state -> action."""
    game = make_game(f"catch/{name}", SHAPE)
    first, seen = game.reset(jax.random.key(seed))

    def one(carry, number):
        state, _ = carry
        action = policy(state)
        state, seen, outcome = game.step(state, action, jax.random.fold_in(jax.random.key(seed), number))
        return (state, seen), (outcome, seen, state.lives)

    return jax.device_get(jax.jit(lambda: jax.lax.scan(one, (first, seen), jnp.arange(steps))[1])())


def towards(state):
    return 1 + jnp.sign(state.column - state.paddle)


def away(state):
    return jnp.where(state.column >= 1, 0, 2)


BEST = {"catch": towards, "dodge": away, "mirror": lambda state: 2 - towards(state)}


@pytest.mark.parametrize("name", RULES)
def test_the_best_policy_never_loses_and_ends_at_the_time_limit(name):
    outcome, _, _ = play(name, BEST[name], 2 * BALLS * FALL)
    assert outcome.reward.sum() == 2 * BALLS
    at = np.flatnonzero(outcome.over)
    assert at.tolist() == [BALLS * FALL - 1, 2 * BALLS * FALL - 1]
    assert np.array_equal(outcome.truncated, outcome.over)
    assert np.array_equal(outcome.done, outcome.over)


def test_a_life_lost_is_an_end_and_the_third_is_the_games():
    outcome, _, lives = play("catch", away, LIVES * FALL)
    down = np.arange(1, LIVES + 1) * FALL - 1
    assert np.flatnonzero(outcome.done).tolist() == down.tolist()
    assert outcome.reward[down].tolist() == [-1, -1, -1]
    assert outcome.reward.sum() == -3
    assert np.flatnonzero(outcome.over).tolist() == [down[-1]]
    assert not outcome.truncated.any()
    assert lives[down].tolist() == [2, 1, LIVES]  # a new game


def test_observations_show_ball_and_paddle():
    game = make_game("catch/catch", SHAPE)
    state, seen = game.reset(jax.random.key(3))
    assert seen.dtype == jnp.uint8
    assert seen.shape == SHAPE
    lit = {(0, int(state.column)), (SHAPE[0] - 1, int(state.paddle))}
    assert set(map(tuple, np.argwhere(seen[..., 0]).tolist())) == lit
    assert set(np.unique(seen)) == {0, 255}


def test_mirror_is_catch_with_left_and_right_exchanged():
    catch, mirror = (make_game(f"catch/{name}", SHAPE) for name in ("catch", "mirror"))
    state, _ = catch.reset(jax.random.key(0))
    for action in range(3):
        _, left, _ = catch.step(state, jnp.int32(action), jax.random.key(1))
        _, right, _ = mirror.step(state, jnp.int32(2 - action), jax.random.key(1))
        assert np.array_equal(left, right)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("catch/fly", SHAPE, "games.names: catch/='fly' is unknown; choose from catch, dodge, mirror"),
        ("hunt/fly", SHAPE, "games.names: family='hunt' is unknown; choose from atari, catch, minatar"),
        ("catch/catch", (3, 4, 1), "games.image=(3, 4, 1) does not fit catch; choose (H, W, 1) with W from 2 to H"),
        ("catch/catch", (5, 4, 4), "games.image=(5, 4, 4) does not fit catch; choose (H, W, 1) with W from 2 to H"),
    ],
)
def test_refusals(name, shape, says):
    with pytest.raises(Refusal) as refused:
        make_game(name, shape)
    assert str(refused.value) == says
