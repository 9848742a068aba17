import jax
import numpy as np
import pytest

from lifeq_jax.rl.evaluate import Scores, add_outcome, make_score, nothing_yet, score_on_host
from lifeq_jax.rl.games import Outcome
from lifeq_jax.rl.heads import Manner
from lifeq_jax.rl.host import make_act
from tests.rl.toy import HEAD, counter, in_turn, on_host

ENVS = 3


def score(where, length, max_steps, params=0):
    game, key = counter(length), jax.random.key(0)
    if where == "compiled":
        return jax.device_get(make_score(game, in_turn, ENVS, max_steps)(params, HEAD, key, Manner.GREEDY))
    return score_on_host(make_act(in_turn), params, HEAD, on_host(game), ENVS, max_steps, key, Manner.GREEDY)


@pytest.mark.parametrize("where", ["compiled", "host"])
def test_one_whole_game_in_each_environment(where):
    found = score(where, 5, 100)  # actions 0 1 2 0 1: 2 - 3 + 2
    assert found.returns.tolist() == [1] * ENVS
    assert found.finished.tolist() == [True] * ENVS
    assert found.steps.tolist() == [5] * ENVS
    assert found.mean == 1


@pytest.mark.parametrize("where", ["compiled", "host"])
def test_a_game_that_does_not_end_is_cut_and_counted(where):
    found = score(where, 50, 4)  # actions 0 1 2 0
    assert found.returns.tolist() == [-1] * ENVS
    assert found.finished.tolist() == [False] * ENVS
    assert found.steps.tolist() == [4] * ENVS


@pytest.mark.parametrize("where", ["compiled", "host"])
def test_parameters_count(where):
    assert score(where, 5, 100, params=1).mean == 2 - 3 + 0 + 2 - 3


def test_what_begins_after_a_games_end_does_not_count():
    scores = nothing_yet(2)
    for over in ([True, False], [False, False], [True, True]):
        over = np.array(over)
        scores = add_outcome(scores, Outcome(np.array([1.0, 10.0], np.float32), over, over, over))
    assert scores.returns.tolist() == [1, 30]
    assert scores.steps.tolist() == [1, 3]
    assert scores.finished.tolist() == [True, True]


def test_a_life_lost_is_not_the_end_of_the_game():
    yes, no = np.array([True]), np.array([False])
    scores = add_outcome(nothing_yet(1), Outcome(np.ones(1, np.float32), yes, no, no))
    assert not scores.finished.any()


def test_standard_error_by_hand():
    scores = Scores(np.array([1.0, 2.0, 6.0], np.float32), np.ones(3, bool), np.ones(3, np.int32))
    assert scores.mean == 3
    np.testing.assert_allclose(scores.error, np.sqrt((4 + 1 + 9) / 2 / 3))
    assert np.isnan(Scores(*(part[:1] for part in scores)).error)
