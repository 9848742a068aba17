import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.losses.classify import OUT
from lifeq_jax.rl.heads import Manner, choose, game_heads, head_of, logits_of, value_of

HEADS = game_heads((2, 3))  # outputs 0 1 | 2 3 4 | values 5 6


def test_actions_of_all_games_then_their_values():
    assert HEADS.classes.tolist() == [[True] * 2 + [False] * 5, [False] * 2 + [True] * 3 + [False] * 2]
    assert HEADS.first.tolist() == [0, 2]
    assert HEADS.value.tolist() == [5, 6]


def test_logits_and_value_of_a_game():
    outputs, head = jnp.arange(14.0).reshape(2, 7), head_of(HEADS, 1)
    assert logits_of(outputs, head).tolist() == [[OUT, OUT, 2, 3, 4, OUT, OUT], [OUT, OUT, 9, 10, 11, OUT, OUT]]
    assert value_of(outputs, head).tolist() == [6, 13]


def test_the_most_probable_action_whatever_other_games_outputs_say():
    outputs, head = jnp.array([[9.0, 9, 1, 3, 2, 9, 0.5], [9.0, 9, 5, 3, 2, 9, -1]]), head_of(HEADS, 1)
    choice = choose(outputs, head, jax.random.key(0), Manner.GREEDY)
    assert choice.action.tolist() == [1, 0]
    expected = jax.nn.log_softmax(outputs[:, 2:5])[jnp.arange(2), choice.action]
    np.testing.assert_allclose(choice.log_prob, expected, rtol=1e-6)
    assert choice.value.tolist() == [0.5, -1]


def test_actions_are_drawn_from_the_policy():
    head = head_of(HEADS, 1)
    outputs = jnp.tile(jnp.log(jnp.array([[0.9, 0.9, 0.5, 0.2, 0.3, 0.9, 0.9]])), (4000, 1))
    choice = choose(outputs, head, jax.random.key(0))
    share = np.bincount(choice.action, minlength=3) / 4000
    np.testing.assert_allclose(share, [0.5, 0.2, 0.3], atol=4 * np.sqrt(0.25 / 4000))
    np.testing.assert_allclose(np.exp(choice.log_prob), np.array([0.5, 0.2, 0.3])[choice.action], rtol=1e-5)


def test_a_blind_agent_takes_the_games_actions_alike():
    head = head_of(HEADS, 1)
    outputs = jnp.tile(jnp.array([[5.0, 5, 9, -9, 0, 5, 5]]), (3000, 1))
    choice = choose(outputs, head, jax.random.key(0), Manner.BLIND)
    share = np.bincount(choice.action, minlength=3) / 3000
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(0.25 / 3000))
