import importlib.util
import sys

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl import make_game
from lifeq_jax.rl.ale import atari_game

SHAPE = (21, 21, 4)
ale_py = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ale_py", "gymnasium")),
    reason="needs ale-py and gymnasium (extra rl)",
)


def play(game, num_envs, steps, seed=3):
    """(observations (steps, N, ...), outcomes (steps, N)) of random actions, which follow from the seed."""
    envs, random = game.open(num_envs), np.random.default_rng(seed)
    seen, outcomes = [envs.reset(seed)], []
    for _ in range(steps):
        envs.send(random.integers(0, game.num_actions, num_envs, np.int32))
        image, outcome = envs.receive()
        seen.append(image)
        outcomes.append(outcome)
    envs.close()
    return np.stack(seen), type(outcomes[0])(*map(np.stack, zip(*outcomes, strict=True)))


@pytest.fixture(scope="module")
def krull():
    return play(atari_game("krull", SHAPE), 4, 1600)


@ale_py
def test_a_life_lost_is_an_end_and_the_game_goes_on(krull):
    images, outcome = krull
    lost = outcome.done & ~outcome.over
    assert lost.sum() > outcome.over.sum() > 0
    assert not outcome.truncated.any()
    assert (outcome.over <= outcome.done).all()
    for step, env in np.argwhere(lost):  # the stack moves on by one frame
        assert np.array_equal(images[step + 1, env, ..., :3], images[step, env, ..., 1:])
    ended = [env for env in range(4) if outcome.over[:, env].any()]
    lives = [outcome.done[: np.argmax(outcome.over[:, env]) + 1, env].sum() for env in ended]
    assert set(lives) == {3}  # krull has three lives


@ale_py
def test_after_a_game_over_a_new_game_is_seen(krull):
    images, outcome = krull
    for step, env in np.argwhere(outcome.over):
        assert not images[step + 1, env, ..., :3].any()
        assert images[step + 1, env, ..., 3].any()


@ale_py
def test_rewards_are_the_games_own():
    _, outcome = play(atari_game("kung_fu_master", SHAPE), 4, 400)
    assert outcome.reward.dtype == np.float32
    assert outcome.reward.max() >= 100


@ale_py
def test_a_time_limit_is_no_end_of_the_game():
    _, outcome = play(atari_game("krull", SHAPE, max_frames=400), 2, 250)
    assert np.flatnonzero(outcome.truncated[:, 0]).tolist() == [99, 199]
    late = outcome.truncated
    assert (outcome.done[late] & outcome.over[late]).all()


@ale_py
def test_a_game_without_lives_ends():
    _, outcome = play(atari_game("boxing", SHAPE), 1, 1800)
    assert np.flatnonzero(outcome.over).shape == (1,)
    assert np.array_equal(outcome.done, outcome.over)
    assert not outcome.truncated.any()


@ale_py
def test_same_seed_and_actions_give_the_same_bits():
    game = atari_game("space_invaders", SHAPE)
    first, again, other = (play(game, 2, 150, seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert all(np.array_equal(*pair) for pair in zip(first[1], again[1], strict=True))
    assert not np.array_equal(first[0], other[0])


@ale_py
def test_copies_of_a_game_do_not_depend_on_how_many_are_open():
    game = atari_game("space_invaders", SHAPE)
    both, second = game.open(2), game.open(1)
    assert np.array_equal(both.reset(5)[1], second.reset(6)[0])
    for _ in range(40):
        both.send(np.array([1, 2], np.int32))
        second.send(np.array([2], np.int32))
        assert np.array_equal(both.receive()[0][1], second.receive()[0][0])


@ale_py
def test_the_six_games_of_the_original_and_their_actions():
    names = ("kung_fu_master", "boxing", "jamesbond", "krull", "riverraid", "space_invaders")
    assert [make_game(f"atari/{name}", SHAPE).num_actions for name in names] == [14, 18, 18, 18, 18, 6]


@ale_py
def test_unknown_games_and_shapes_are_refused():
    with pytest.raises(Refusal, match=r"games.names: atari/Boxing is unknown; choose from adventure, .*boxing"):
        make_game("atari/Boxing", SHAPE)
    with pytest.raises(Refusal) as refused:
        make_game("atari/boxing", (84, 84, 1))
    assert str(refused.value) == "games.image=(84, 84, 1) does not fit atari/boxing; choose (H, W, 4)"


def test_without_the_package_the_refusal_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", None)
    with pytest.raises(Refusal) as refused:
        make_game("atari/boxing", SHAPE)
    assert str(refused.value) == (
        "games.names: atari/boxing needs ale-py and gymnasium; install them with pip install 'lifeq_jax[rl]'"
    )
