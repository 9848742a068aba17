import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl import make_game
from lifeq_jax.rl.minatar import NAMES

SHAPE = (10, 10, 10)
pgx = pytest.mark.skipif(importlib.util.find_spec("pgx") is None, reason="needs pgx (extra rl)")


@pgx
def test_a_game_of_breakout_goes_on_with_a_new_one():
    game = make_game("minatar/breakout", SHAPE)
    keys = jax.random.split(jax.random.key(0), 8)
    begun, first = jax.vmap(game.reset)(keys)
    assert first.shape == (8, *SHAPE)
    assert first.dtype == jnp.uint8
    assert set(np.unique(first)) == {0, 255}
    assert not first[..., 4:].any()  # breakout has four channels
    assert first[..., :4].any(axis=(0, 1, 2)).all()

    def one(carry, number):
        key = jax.random.fold_in(keys[0], number)
        actions = jax.random.randint(key, (8,), 0, 3)
        state, image, outcome = jax.vmap(game.step)(carry, actions, jax.random.split(key, 8))
        return state, (image, outcome)

    _, (images, outcome) = jax.jit(lambda: jax.lax.scan(one, begun, jnp.arange(60)))()
    assert outcome.over.any(axis=0).all()  # of random actions every game is soon over
    assert np.array_equal(outcome.done, outcome.over)
    assert not outcome.truncated.any()
    assert set(np.unique(outcome.reward)) <= {0, 1}
    bricks = images[..., 3].sum(axis=(2, 3), dtype=int) // 255
    assert (bricks[outcome.over] == 30).all()  # what is seen then is a new game's: all bricks
    assert (bricks < 30).any()


@pgx
def test_every_game_is_there():
    assert [make_game(f"minatar/{name}", SHAPE).num_actions for name in NAMES] == [5, 3, 3, 6, 4]


@pgx
@pytest.mark.parametrize("shape", [(10, 10, 3), (8, 10, 4)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(Refusal) as refused:
        make_game("minatar/breakout", shape)
    assert str(refused.value) == (
        f"games.image={shape} does not fit minatar/breakout; choose (10, 10, C) with C from 4 up"
    )


def test_without_the_package_the_refusal_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pgx", None)
    with pytest.raises(Refusal) as refused:
        make_game("minatar/breakout", SHAPE)
    assert str(refused.value) == (
        "games.names: minatar/breakout needs pgx; install it with pip install 'lifeq_jax[rl]'"
    )


def test_an_unknown_game_is_refused():
    with pytest.raises(Refusal) as refused:
        make_game("minatar/pong", SHAPE)
    assert str(refused.value) == f"games.names: minatar/='pong' is unknown; choose from {', '.join(NAMES)}"
