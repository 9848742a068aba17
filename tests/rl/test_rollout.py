import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.rl import host
from lifeq_jax.rl.games import Outcome
from lifeq_jax.rl.host import Seconds, begin_halves, make_act, open_halves, rollout_halves
from lifeq_jax.rl.ppo import PPO, gae, normalized_advantage
from lifeq_jax.rl.rollout import Returns, add_returns, begin, no_returns, rollout, samples_of
from tests.rl.toy import HEAD, SHAPE, counter, in_turn, on_host

STEPS, ENVS = 7, 4


def played(game=None, params=0):
    game = game or counter()
    play = begin(game, ENVS, jax.random.key(0))
    return jax.jit(lambda: rollout(game, in_turn, params, HEAD, play, jax.random.key(1), STEPS))()


def test_a_rollout_records_what_each_action_was_chosen_from():
    after, found = played()
    assert found.image.shape == (STEPS, ENVS, *SHAPE)
    assert found.image.dtype == jnp.uint8
    assert found.image[:, 0, 0, 0].tolist() == [[0, 0], [1, 0], [2, 1], [3, 2], [4, 0], [0, 0], [1, 0]]
    assert found.choice.action[:, 0].tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert found.choice.value[:, 0].tolist() == [10, 11, 12, 13, 14, 10, 11]
    assert found.outcome.reward[:, 0].tolist() == [0, 2, -3, 0, 2, 0, 2]
    assert found.outcome.over[:, 0].tolist() == [False] * 4 + [True] + [False] * 2
    np.testing.assert_allclose(found.choice.log_prob, 0, atol=1e-6)
    assert after.image[:, 0, 0].tolist() == [[2, 1]] * ENVS
    for part in jax.tree.leaves(found):
        assert np.array_equal(part, np.broadcast_to(part[:, :1], part.shape))  # all copies alike


def test_a_rollout_goes_on_where_the_last_one_ended():
    game = counter()
    play = begin(game, ENVS, jax.random.key(0))
    run = jax.jit(lambda play: rollout(game, in_turn, 0, HEAD, play, jax.random.key(1), 3))
    middle, first = run(play)
    _, second = run(middle)
    _, whole = played()
    for a, b, both in zip(*map(jax.tree.leaves, (first, second, whole)), strict=True):
        assert np.array_equal(np.concatenate([a, b]), both[:6])


def test_what_is_drawn_follows_from_the_key():
    game = counter()
    play = begin(game, ENVS, jax.random.key(0))

    def even(params, image):
        return jnp.zeros((len(image), 7))

    run = jax.jit(lambda key: rollout(game, even, 0, HEAD, play, key, STEPS)[1].choice.action)
    first, again, other = (run(jax.random.key(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first[:, 0])) > 1  # over steps
    assert len(np.unique(first[0])) > 1  # over copies


def test_samples_are_the_steps_in_rows():
    _, found = played()
    last = jnp.full(ENVS, 20.0)
    samples = samples_of(found, last, HEAD, PPO())
    assert samples.image.shape == (STEPS * ENVS, *SHAPE)
    assert samples.label.reshape(STEPS, ENVS)[:, 1].tolist() == [2, 3, 4, 2, 3, 2, 3]
    value, outcome = found.choice.value, found.outcome
    advantage = gae(jnp.sign(outcome.reward), value, last, outcome.done, outcome.truncated, 0.99, 0.95)
    np.testing.assert_allclose(samples.returns.reshape(STEPS, ENVS), advantage + value, rtol=1e-6)
    np.testing.assert_allclose(samples.advantage.reshape(STEPS, ENVS), normalized_advantage(advantage), rtol=1e-5)
    own = samples_of(found, last, HEAD, PPO(clip_reward=False))
    advantage = gae(outcome.reward, value, last, outcome.done, outcome.truncated, 0.99, 0.95)
    np.testing.assert_allclose(own.returns.reshape(STEPS, ENVS), advantage + value, rtol=1e-6)


def test_a_time_limit_reaches_the_samples():
    ended, limited = (
        samples_of(played(counter(limit=limit))[1], jnp.zeros(ENVS), HEAD, PPO()) for limit in (False, True)
    )
    fifth = slice(4 * ENVS, 5 * ENVS)
    np.testing.assert_allclose(ended.returns[fifth], 1, rtol=1e-6)  # the sign of the reward, and nothing after it
    np.testing.assert_allclose(limited.returns[fifth], 14, rtol=1e-6)  # the value of the state


def test_returns_of_whole_games_by_hand():
    reward = jnp.array([[1.0, 5.0], [2.0, 6.0], [4.0, 7.0]])
    over = jnp.array([[False, True], [True, False], [False, False]])
    start = no_returns(2)._replace(running=jnp.array([10.0, 20.0]))
    found = add_returns(start, Outcome(reward, over, over & False, over))
    assert found.running.tolist() == [4, 13]
    assert (float(found.total), float(found.games)) == (13 + 25, 2)
    assert isinstance(found, Returns)


def on_the_host(game, num_envs=ENVS, steps=STEPS):
    """(what is seen last, rollout) of groups of copies."""
    groups = open_halves(game, num_envs)
    images = begin_halves(groups, num_envs, jax.random.key(5))
    act = make_act(in_turn)
    return rollout_halves(act, 0, HEAD, groups, images, jax.random.key(1), steps)


def test_on_the_host_as_compiled():
    last, found, _ = on_the_host(on_host(counter()))
    after, compiled = played()
    assert jax.tree.structure(found) == jax.tree.structure(compiled)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(compiled), strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.array_equal(np.concatenate(last), after.image)


def test_the_time_of_a_rollout_is_divided_between_agent_and_game(monkeypatch):
    now = [0.0]

    def taking(seconds, function):
        def call(*args):
            now[0] += seconds
            return function(*args)

        return call

    monkeypatch.setattr(host, "perf_counter", lambda: now[0])
    halves = open_halves(on_host(counter()), ENVS)
    groups = [half._replace(receive=taking(1.0, half.receive)) for half in halves]
    images = begin_halves(groups, ENVS, jax.random.key(5))
    act = taking(0.25, make_act(in_turn))
    *_, seconds = rollout_halves(act, 0, HEAD, groups, images, jax.random.key(1), STEPS)
    assert seconds == Seconds(acting=0.25 * 2 * STEPS, waiting=1.0 * 2 * STEPS)


def test_one_half_plays_while_the_agent_chooses_for_the_other():
    log = []
    on_the_host(on_host(counter(), log), steps=2)
    first, second = 0, 1
    assert log == [
        ("open", first), ("open", second), ("reset", first), ("reset", second),
        ("send", first), ("send", second),
        ("receive", first), ("send", first), ("receive", second), ("send", second),
        ("receive", first), ("receive", second),
    ]  # fmt: skip


def test_an_odd_number_of_copies_is_one_group():
    _, found, _ = on_the_host(on_host(counter()), num_envs=3)
    assert found.image.shape == (STEPS, 3, *SHAPE)
    assert found.choice.action[:, 2].tolist() == [0, 1, 2, 0, 1, 0, 1]
