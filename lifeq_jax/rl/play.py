"""A game of the sequence as a run uses it: to learn for an epoch, to score, to give a method examples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.evaluate import Scores, make_score, score_on_host
from lifeq_jax.rl.games import Emulator, Game
from lifeq_jax.rl.heads import Head
from lifeq_jax.rl.host import Act, Seconds, begin_halves, make_act, open_halves, rollout_halves
from lifeq_jax.rl.learn import LearnerState, Lesson, make_minibatch_step, make_update, samples_and_returns
from lifeq_jax.rl.ppo import PPO, minibatch_order
from lifeq_jax.rl.rollout import ActorCritic, Rollout, begin, no_returns, rollout
from lifeq_jax.train.abreast import stack, unstack
from lifeq_jax.train.step import Objective, Step, Totals, TrainState, zero_totals


class Spans(NamedTuple):
    """Amounts of play."""

    num_envs: int
    rollout_steps: int
    updates: int  # per epoch
    episodes: int  # per evaluation
    max_steps: int  # per game of an evaluation


class Shared(NamedTuple):
    """Shared by all games of a stage; the compiled functions are for games on the host."""

    evaluate: ActorCritic
    step: Step
    objective: Objective
    ppo: PPO
    spans: Spans
    act: Act
    prepare: Callable  # learn.samples_and_returns
    minibatch_step: Callable  # learn.make_minibatch_step; state and totals are donated
    order: Callable  # key -> ppo.minibatch_order


def share(evaluate: ActorCritic, step: Step, objective: Objective, ppo: PPO, spans: Spans) -> Shared:
    """Jits the functions for games on the host; each is compiled once for all games, at its first call."""
    size = spans.num_envs * spans.rollout_steps
    return Shared(
        evaluate=evaluate,
        step=step,
        objective=objective,
        ppo=ppo,
        spans=spans,
        act=make_act(evaluate),
        prepare=jax.jit(partial(samples_and_returns, evaluate, ppo)),
        minibatch_step=jax.jit(make_minibatch_step(step), donate_argnums=(0, 1)),
        order=jax.jit(lambda key: minibatch_order(key, size, ppo)),
    )


class GameEpochResult(NamedTuple):
    """The measurements of an epoch, numbers on the host."""

    totals: Totals
    games: int  # that ended
    mean_return: float  # of those; NaN where none ended
    steps: int  # of play
    seconds: float
    parts: tuple[float, float, float] | None
    """seconds of acting, waiting for the game, learning; None: one program does all"""


Learned = tuple[TrainState, GameEpochResult]
PlayedBatches = Iterator[tuple[Any, Any]]  # (observations (B, H, W, C) uint8, actions (B,) of the game)


class Player(NamedTuple):
    """One game in a stage. All randomness comes from the key."""

    learn: Callable[[TrainState, Lesson, jax.Array, str], Learned]
    """(state (donated), lesson, key, label of a progress bar) -> (state, result) of an epoch, which begins with new
    games"""
    score: Callable[[PyTree, Head, jax.Array, int], Scores]  # (params, head, key, heads.Manner)
    examples: Callable[[PyTree, Head, jax.Array, int], PlayedBatches]
    """(params, head, key, number of rollouts) -> observations and actions of the agent, in parts of a minibatch's
    size"""
    learn_abreast: Callable[[TrainState, Lesson, jax.Array, str], Sequence[Learned]] | None = None
    """`learn` of several seeds in one program, all but the label with a leading axis of seeds; None: on the host"""
    score_abreast: Callable[[PyTree, Head, jax.Array, int], list[Scores]] | None = None
    """`score` likewise, params and keys with a leading axis of seeds"""


def player(game: Game | Emulator, shared: Shared) -> Player:
    """The player of a game that is compiled with the agent, or of one on the host."""
    return _compiled(game, shared) if isinstance(game, Game) else _on_host(game, shared)


def _result(
    learning: LearnerState, spans: Spans, seconds: float, parts: tuple[float, float, float] | None
) -> GameEpochResult:
    totals, returns = jax.device_get((learning.totals, learning.returns))
    games = int(returns.games)
    return GameEpochResult(
        totals=totals,
        games=games,
        mean_return=float(returns.total) / games if games else float("nan"),
        steps=spans.updates * spans.num_envs * spans.rollout_steps,
        seconds=seconds,
        parts=parts,
    )


def _updates(spans: Spans, label: str) -> Iterator[int]:
    yield from tqdm(range(spans.updates), desc=label, leave=False, disable=None, unit="update")


def _compiled(game: Game, shared: Shared) -> Player:
    spans = shared.spans
    update = make_update(game, shared.evaluate, shared.step, shared.ppo, spans.rollout_steps)
    new_games = jax.jit(partial(begin, game, spans.num_envs))
    play_rollout = jax.jit(partial(_rollout, game, shared))

    def numbered(
        learning: LearnerState, play: Any, lesson: Lesson, key: jax.Array, number: int
    ) -> tuple[LearnerState, Any]:
        return update(learning, play, lesson, jax.random.fold_in(key, number))

    run = jax.jit(numbered, donate_argnums=(0, 1))
    run_abreast = jax.jit(jax.vmap(numbered, in_axes=(0, 0, 0, 0, None)), donate_argnums=(0, 1))

    def learn(state: TrainState, lesson: Lesson, key: jax.Array, label: str) -> Learned:
        began = perf_counter()
        of_games, of_updates = jax.random.split(key)
        play, learning = (
            new_games(of_games),
            LearnerState(state, zero_totals(shared.objective), no_returns(spans.num_envs)),
        )
        for number in _updates(spans, label):
            learning, play = run(learning, play, lesson, of_updates, number)
        jax.block_until_ready(learning)
        return learning.state, _result(learning, spans, perf_counter() - began, None)

    def learn_abreast(states: TrainState, lessons: Lesson, keys: jax.Array, label: str) -> Sequence[Learned]:
        began, number_of_seeds = perf_counter(), len(keys)
        of_games, of_updates = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        play = jax.vmap(new_games)(of_games)
        fresh = zero_totals(shared.objective), no_returns(spans.num_envs)
        learning = LearnerState(states, *stack([fresh] * number_of_seeds))
        for number in _updates(spans, label):
            learning, play = run_abreast(learning, play, lessons, of_updates, number)
        jax.block_until_ready(learning)
        seconds = perf_counter() - began
        return [(own.state, _result(own, spans, seconds, None)) for own in unstack(learning, number_of_seeds)]

    def score_abreast(params: PyTree, head: Head, keys: jax.Array, manner: int) -> list[Scores]:
        return jax.device_get(unstack(scores(params, head, keys, manner), len(keys)))

    def examples(params: PyTree, head: Head, key: jax.Array, rollouts: int) -> PlayedBatches:
        of_games, of_play = jax.random.split(key)
        play = new_games(of_games)
        for number in range(rollouts):
            play, played = play_rollout(params, head, play, jax.random.fold_in(of_play, number))
            yield from _parts(played.image, played.choice.action, shared.ppo)

    score = make_score(game, shared.evaluate, spans.episodes, spans.max_steps)
    scores = jax.jit(jax.vmap(score, in_axes=(0, None, 0, None)))
    return Player(learn, lambda *given: jax.device_get(score(*given)), examples, learn_abreast, score_abreast)


def _rollout(game: Game, shared: Shared, params: PyTree, head: Head, play: Any, key: jax.Array) -> tuple[Any, Any]:
    return rollout(game, shared.evaluate, params, head, play, key, shared.spans.rollout_steps)


def learn_from(
    shared: Shared, learning: LearnerState, played: Rollout, last: np.ndarray, lesson: Lesson, key: jax.Array
) -> LearnerState:
    """All passes over a rollout on the host that ended in the observations `last` (N, H, W, C); learning.state and
    .totals are donated."""
    samples, returns = shared.prepare(learning.state.params, played, last, lesson.head, learning.returns)
    state, totals = learning.state, learning.totals
    for rows in shared.order(key):
        state, totals = shared.minibatch_step(state, totals, samples, rows, lesson)
    return LearnerState(state, totals, returns)


def _on_host(game: Emulator, shared: Shared) -> Player:
    spans = shared.spans

    def learn(state: TrainState, lesson: Lesson, key: jax.Array, label: str) -> Learned:
        began, spent = perf_counter(), Seconds(0.0, 0.0)
        of_games, of_updates = jax.random.split(key)
        learning = LearnerState(state, zero_totals(shared.objective), no_returns(spans.num_envs))
        with ExitStack() as opened:
            groups = _opened(game, spans, opened)
            images = begin_halves(groups, spans.num_envs, of_games)
            for number in _updates(spans, label):
                of_play, of_order = jax.random.split(jax.random.fold_in(of_updates, number))
                params = learning.state.params
                images, played, own = rollout_halves(
                    shared.act, params, lesson.head, groups, images, of_play, spans.rollout_steps
                )
                spent = Seconds(spent.acting + own.acting, spent.waiting + own.waiting)
                learning = learn_from(shared, learning, played, np.concatenate(images), lesson, of_order)
                learning = jax.block_until_ready(learning)
        seconds = perf_counter() - began
        parts = (spent.acting, spent.waiting, seconds - spent.acting - spent.waiting)
        return learning.state, _result(learning, spans, seconds, parts)

    def score(params: PyTree, head: Head, key: jax.Array, manner: int) -> Scores:
        return score_on_host(shared.act, params, head, game, spans.episodes, spans.max_steps, key, manner)

    def examples(params: PyTree, head: Head, key: jax.Array, rollouts: int) -> PlayedBatches:
        of_games, of_play = jax.random.split(key)
        with ExitStack() as opened:
            groups = _opened(game, spans, opened)
            images = begin_halves(groups, spans.num_envs, of_games)
            for number in range(rollouts):
                of_rollout = jax.random.fold_in(of_play, number)
                images, played, _ = rollout_halves(
                    shared.act, params, head, groups, images, of_rollout, spans.rollout_steps
                )
                yield from _parts(played.image, played.choice.action, shared.ppo)

    return Player(learn, score, examples)


def _opened(game: Emulator, spans: Spans, opened: ExitStack) -> tuple:
    groups = open_halves(game, spans.num_envs)
    for group in groups:
        opened.callback(group.close)
    return groups


def _parts(image: Any, action: Any, ppo: PPO) -> PlayedBatches:
    images, actions = (part.reshape(-1, *part.shape[2:]) for part in (image, action))
    size = len(actions) // ppo.minibatches
    for first in range(0, size * ppo.minibatches, size):
        yield images[first : first + size], actions[first : first + size]
