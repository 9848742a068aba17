import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.catch import BALLS
from lifeq_jax.rl.look import observations, read_agent, score_agent
from lifeq_jax.rl.render import colored, newest, write_film
from lifeq_jax.rl.run import run_games
from tests.rl.test_run import RECIPE, quiet


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("look") / "run"
    run_games(dataclasses.replace(RECIPE, keep="task"), folder, quiet)
    return folder


def test_the_agent_after_each_game_is_kept(run):
    first, last, now = (read_agent(run, 0, after_task=after).params for after in (0, 1, None))
    same = jax.tree.map(np.array_equal, last, now)
    assert all(jax.tree.leaves(same)) and not all(jax.tree.leaves(jax.tree.map(np.array_equal, first, last)))


def test_a_score_follows_from_its_seed(run):
    agent = read_agent(run, 1)
    assert agent.name == "catch/dodge"
    first, again, other = (score_agent(agent, 4, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.returns, again.returns)
    assert len(first.returns) == 4
    assert not all(np.array_equal(*pair) for pair in zip(first[:1] + first[2:], other[:1] + other[2:], strict=True))


def test_drawn_actions_differ_from_the_most_probable_ones(run):
    agent = read_agent(run, 0)
    greedy, drawn = (score_agent(agent, 8, 1, drawn) for drawn in (False, True))
    assert not np.array_equal(greedy.returns, drawn.returns)


def test_a_film_shows_a_game_to_its_end(run, tmp_path):
    agent = read_agent(run, 0)
    seen = list(observations(agent, 500))
    assert 12 <= len(seen) <= 4 * BALLS  # three balls at least, and no more than the time limit allows
    assert seen[0].shape == RECIPE.games.image
    path = tmp_path / "film" / "agent.gif"
    assert write_film(seen, agent.name, path) == len(seen)
    with Image.open(path) as film:
        assert film.format == "GIF"
        assert film.size == (240, 400)  # 80 times 3x5
        assert film.info["loop"] == 0
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("L"))[::80, ::80])
    assert np.array_equal(frames[0], seen[0][..., 0])


def test_a_film_is_cut_at_the_number_of_steps(run):
    assert len(list(observations(read_agent(run, 0), 5))) == 5


def test_pictures():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0, 0] = image[0, 1, 2] = image[0, 0, 2] = 255
    picture = colored(image)
    assert picture[0, 0].tolist() == picture[0, 1].tolist() != [0, 0, 0]
    assert not picture[1].any()
    assert newest(image)[0].tolist() == [[255] * 3, [255] * 3]


def test_refusals(run, tmp_path):
    with pytest.raises(Refusal, match="--task 2 is not a game of the run; choose from 0 to 1"):
        read_agent(run, 2)
    with pytest.raises(Refusal, match="has no stage 'x'; choose from float"):
        read_agent(run, 0, "x")
    with pytest.raises(Refusal, match="no step was played"):
        write_film([], "catch/catch", tmp_path / "a.gif")
    (tmp_path / "b.gif").mkdir()
    with pytest.raises(Refusal, match=r"b.gif cannot be written"):
        write_film([np.zeros((5, 3, 1), np.uint8)], "catch/catch", tmp_path / "b.gif")
