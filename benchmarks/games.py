"""The parts of learning a game on the host: how fast each is alone, and how much of their time overlaps."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    Run,
    alternate,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.build import compile_stage, make_world
from lifeq_jax.rl.games import Emulator, Environments
from lifeq_jax.rl.heads import Manner, head_of
from lifeq_jax.rl.host import begin_halves, open_halves, rollout_halves
from lifeq_jax.rl.learn import LearnerState, Lesson
from lifeq_jax.rl.play import Shared, learn_from
from lifeq_jax.rl.rollout import Rollout, no_returns
from lifeq_jax.train.step import TrainState, zero_totals

ACTING, EMULATOR, LEARNING = "acting", "emulator", "learning"
TURN, HALVES, UPDATE = "acting, emulator, in turn", "acting, emulator, in halves", "all three"


def bench_games(recipe: GameRecipe, repeats: int, steps: int) -> BenchmarkResult:
    """Steps of play per second in the first game of a recipe: acting, emulator and learning alone, and together.

    A rollout plays in halves, one of which steps while the agent chooses for the other; in turn: all copies step, then
    the agent chooses for all. Acting alone sees recorded observations, the emulator alone gets recorded actions, in
    halves both. Where acting and emulator overlap, their times alone add up to more than the time in halves. `steps`
    rollouts are a repeat. Refuses a game that is compiled with the agent."""
    before, games = load(), recipe.games
    with _runs(recipe) as runs:
        times, processor = alternate(runs, repeats, steps)
    played = games.num_envs * games.rollout_steps
    alone = list(zip(times[ACTING], times[EMULATOR], times[HALVES], strict=True))
    return BenchmarkResult(
        f"learning of {games.names[0]}, {recipe.model.name}, {games.image}",
        {
            "num_envs": games.num_envs,
            "rollout_steps": games.rollout_steps,
            "passes": games.passes,
            "alternating_repeats": repeats,
            "rollouts_of_each": steps,
        },
        {
            "steps_per_second": {name: played / seconds for name, seconds in medians(times).items()},
            "time_ratio_to_halves": medians_of_ratios(times, HALVES),
            "processor_ratio_to_halves": medians_of_ratios(processor, HALVES),
            "processor_seconds": medians(processor),
        },
        {
            "time_of_acting_and_emulator_alone_to_halves": statistics.median((a + e) / both for a, e, both in alone),
            "most_that_overlap_can_make_it": statistics.median((a + e) / max(a, e) for a, e, _ in alone),
        },
        surroundings(before),
    )


@contextmanager
def _runs(recipe: GameRecipe) -> Iterator[dict[str, Run]]:
    world = make_world(recipe)
    game, stage = world.games[0], compile_stage(recipe, 0, world)
    if not isinstance(game, Emulator):
        raise Refusal(f"games.names: {world.names[0]} is compiled with the agent; choose a game on the host")
    shared, spans = stage.shared, stage.shared.spans
    params, _ = stage.network.init(recipe.seed)
    lesson = Lesson(head_of(world.heads, 0), *(jnp.int32(0),) * 3)
    key, act = jax.random.key(recipe.seed), shared.act

    def play(groups: Sequence[Environments], images: list) -> Any:
        images[:], played, _ = rollout_halves(act, params, lesson.head, groups, images, key, spans.rollout_steps)
        return played

    with ExitStack() as opened:
        halves, whole = open_halves(game, spans.num_envs), (game.open(spans.num_envs),)
        for group in (*halves, *whole):
            opened.callback(group.close)
        seen, seen_whole = (begin_halves(groups, spans.num_envs, key) for groups in (halves, whole))
        played = play(halves, seen)
        last = np.concatenate(seen)
        learn = _learning(shared, stage.begin(jax.tree.map(np.array, params)), lesson, key)
        image, action = (np.split(part, len(halves), axis=1) for part in (played.image, played.choice.action))

        def acting() -> None:
            for step in range(spans.rollout_steps):
                for half in image:
                    jax.device_get(act(params, half[step], lesson.head, key, step, Manner.DRAWN))

        def emulator() -> None:
            for step in range(spans.rollout_steps + 1):
                for group, half in zip(halves, action, strict=True):
                    if step > 0:
                        group.receive()
                    if step < spans.rollout_steps:
                        group.send(half[step])

        def update() -> None:
            own = play(halves, seen)
            learn(own, np.concatenate(seen))  # the params of `play` stay, so that all rollouts are of one agent

        runs = {
            HALVES: lambda: play(halves, seen),
            TURN: lambda: play(whole, seen_whole),
            ACTING: acting,
            EMULATOR: emulator,
            LEARNING: lambda: learn(played, last),
            UPDATE: update,
        }
        runs[HALVES + AGAIN] = runs[HALVES]
        yield {name: _repeated(once) for name, once in runs.items()}


def _learning(
    shared: Shared, state: TrainState, lesson: Lesson, key: jax.Array
) -> Callable[[Rollout, np.ndarray], None]:
    """The passes over a rollout, from where the call before ended."""
    holder = [LearnerState(state, zero_totals(shared.objective), no_returns(shared.spans.num_envs))]

    def learn(played: Rollout, last: np.ndarray) -> None:
        holder[0] = jax.block_until_ready(learn_from(shared, holder[0], played, last, lesson, key))

    return learn


def _repeated(once: Callable[[], Any]) -> Run:
    def run(number: int) -> None:
        for _ in range(number):
            once()

    return run
