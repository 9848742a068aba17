"""A trained agent: its score in one game, and a film of how it plays."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lifeq_jax.core.config import Stage
from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.keys import Stream, key_for
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.build import build_network, evaluate_of, make_world
from lifeq_jax.rl.evaluate import Scores, make_score, score_on_host
from lifeq_jax.rl.games import Emulator, Game
from lifeq_jax.rl.heads import Head, Manner, head_of
from lifeq_jax.rl.host import make_act, seed_of
from lifeq_jax.rl.rollout import ActorCritic, begin, play_on
from lifeq_jax.rl.tasks import Progress
from lifeq_jax.runs.folder import CONFIG
from lifeq_jax.train.identity import with_own_code
from lifeq_jax.train.reached import notes, reached, stage_of


class Agent(NamedTuple):
    """A trained agent at one of its games."""

    stage: Stage
    name: str  # of the game
    game: Game | Emulator
    evaluate: ActorCritic
    params: PyTree
    head: Head
    recipe: GameRecipe
    notes: tuple[str, ...]  # warnings about the checkpoint, a line each


def read_agent(folder: Path, task: int, stage: str | None = None, after_task: int | None = None) -> Agent:
    """The agent of a run after `stage` (by default the last), or after its game `after_task`, for game `task`; games
    are counted from 0.

    Raises:
        Refusal: the folder holds no run on games, or there is no such game or stage."""
    recipe = read_any(folder / CONFIG)
    if not isinstance(recipe, GameRecipe):
        raise Refusal(f"{folder} is no run on games")
    recipe = with_own_code(recipe, folder)
    names = recipe.games.names
    if task not in range(len(names)):
        raise Refusal(f"--task {task} is not a game of the run; choose from 0 to {len(names) - 1}")
    with reached(folder, stage, after_task, Progress) as checkpoints:
        (params, _), said = checkpoints.weights(), notes(checkpoints)
    world = make_world(recipe)
    chosen = stage_of(recipe, folder, stage)
    evaluate = evaluate_of(build_network(recipe, chosen, world))
    head = head_of(world.heads, task)
    return Agent(chosen, names[task], world.games[task], evaluate, params, head, recipe, tuple(said))


def _manner(agent: Agent, drawn: bool) -> Manner:
    return Manner.GREEDY if agent.recipe.games.greedy and not drawn else Manner.DRAWN


def score_agent(agent: Agent, episodes: int, seed: int = 0, drawn: bool = False) -> Scores:
    """Plays one whole game in each of `episodes` environments, with other seeds than the run's evaluations.

    drawn=True draws actions from the policy even if the recipe's evaluations take the most probable one."""
    key, most = key_for(seed, 0, 1, stream=Stream.SCORE), agent.recipe.games.max_steps
    if isinstance(agent.game, Game):
        score = make_score(agent.game, agent.evaluate, episodes, most)
        return jax.device_get(score(agent.params, agent.head, key, _manner(agent, drawn)))
    act = make_act(agent.evaluate)
    return score_on_host(act, agent.params, agent.head, agent.game, episodes, most, key, _manner(agent, drawn))


def observations(agent: Agent, steps: int, seed: int = 0, drawn: bool = False) -> Iterator[np.ndarray]:
    """The agent's observations (H, W, C) uint8 in one game, to its end or up to `steps` steps."""
    key, manner = key_for(seed, 0, 2, stream=Stream.SCORE), _manner(agent, drawn)
    if isinstance(agent.game, Game):
        yield from _compiled(agent, agent.game, key, manner, steps)
        return
    act = make_act(agent.evaluate)
    with closing(agent.game.open(1)) as envs:
        image = envs.reset(seed_of(key))
        for number in range(steps):
            yield image[0]
            envs.send(jax.device_get(act(agent.params, image, agent.head, key, number, manner)).action)
            image, outcome = envs.receive()
            if outcome.over[0]:
                return


def _compiled(agent: Agent, game: Game, key: jax.Array, manner: Manner, steps: int) -> Iterator[np.ndarray]:
    @jax.jit
    def step(play: Any, number: int) -> Any:
        after, _, outcome = play_on(
            game, agent.evaluate, agent.params, agent.head, play, jax.random.fold_in(key, number), manner
        )
        return after, outcome.over[0]

    play = jax.jit(lambda key: begin(game, 1, key))(jax.random.fold_in(key, steps))
    for number in range(steps):
        yield np.asarray(play.image[0])
        play, over = step(play, number)
        if over:
            return
