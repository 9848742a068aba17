"""The steps and evaluations of several seeds in one program: compiled once, over a leading axis of seeds."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.types import PyTree
from lifeq_jax.data.inputs import Feed
from lifeq_jax.data.order import test_plan, train_plan
from lifeq_jax.train.classify import Score, zero_score
from lifeq_jax.train.loop import Advance, EpochResult, ScoreFeeds, pieces, result_of
from lifeq_jax.train.stage import AllTasks, Ask, Compiled, Epoch
from lifeq_jax.train.step import TrainState, zero_totals
from lifeq_jax.train.world import World


def vmap_is_faster() -> bool:
    """Whether several seeds under vmap are faster than one after another. They are not on a CPU, where products and
    convolutions with a batch of weights took three times as long (results/LOG.md)."""
    return jax.default_backend() != "cpu"


class Abreast(NamedTuple):
    """The functions of a stage for several seeds, compiled over a leading axis in all but the number of steps."""

    advances: tuple[Advance, ...]  # state and totals are donated
    score_feeds: ScoreFeeds

    def train(self, asks: Sequence[Epoch]) -> list[tuple[TrainState, EpochResult]]:
        """What each `Epoch.compute` returns, for epochs of the same number of steps."""
        start, task = time.perf_counter(), asks[0].place.task
        worlds = [ask.seed.world for ask in asks]
        where = np.array([ask.place[:3] for ask in asks], np.int32)
        state = stack([ask.state for ask in asks])
        totals = stack([zero_totals(asks[0].stage.objective)] * len(asks))
        constants, advance = _constants(worlds), self.advances[asks[0].seed.keeps_norm(task)]
        with tqdm(desc=str(asks[0].place), total=worlds[0].steps(task), leave=False, disable=None, unit="step") as bar:
            for feeds, count in _side_by_side(_train_pieces(ask) for ask in asks):
                state, totals = advance(state, totals, constants, feeds, np.int32(count), where)
                bar.update(count)
        totals, states = jax.device_get(totals), unstack(state, len(asks))
        seconds = time.perf_counter() - start
        own = [jax.tree.map(lambda part, i=i: part[i], totals) for i in range(len(asks))]
        results = [result_of(each, worlds[0].batch_size, seconds) for each in own]
        return list(zip(states, results, strict=True))

    def score(self, asks: Sequence[AllTasks]) -> list[list[Score]]:
        """What each `AllTasks.compute` returns, for tasks of the same number of batches."""
        worlds = [ask.seed.world for ask in asks]
        params, batch_stats = stack([(ask.state.params, ask.state.batch_stats) for ask in asks])
        constants = _constants(worlds)
        by_task = []
        for task in range(len(worlds[0].tasks)):
            so_far = stack([zero_score(worlds[0].num_classes)] * len(worlds))
            for feeds, count in _side_by_side(_score_pieces(world, task) for world in worlds):
                so_far = self.score_feeds(params, batch_stats, so_far, constants, feeds, np.int32(count))
            by_task.append(jax.device_get(so_far))
        return [[jax.tree.map(lambda part, i=i: part[i], score) for score in by_task] for i in range(len(asks))]


def make_together() -> Callable[[Sequence[Ask]], list[Any]]:
    """Makes the function that answers equal requests of several seeds in one program; it keeps what it compiles."""
    compiled: dict[tuple, Abreast] = {}

    def together(asks: Sequence[Ask]) -> list[Any]:
        stage = asks[0].stage
        key = (stage.number, *(ask.seed.recipe.seed for ask in asks))
        if key not in compiled:
            compiled[key] = make_abreast(stage, [ask.seed.world for ask in asks])
        epochs = [ask for ask in asks if isinstance(ask, Epoch)]
        if epochs:
            return compiled[key].train(epochs)
        return compiled[key].score([ask for ask in asks if isinstance(ask, AllTasks)])

    return together


def make_abreast(stage: Compiled, worlds: Sequence[World]) -> Abreast:
    """Jits a stage's functions for several seeds. Arrays that all seeds share, the images above all, get no leading
    axis."""
    constants = [world.constants for world in worlds]
    axes = jax.tree.map(lambda *leaves: None if _is_one(leaves) else 0, *constants)
    train, test = (0, 0, axes, 0, None, 0), (0, 0, 0, axes, 0, None)
    advances = (jax.jit(jax.vmap(one, in_axes=train), donate_argnums=(0, 1)) for one in stage.functions)
    return Abreast(tuple(advances), jax.jit(jax.vmap(stage.score_feeds, in_axes=test)))


def _side_by_side(passes: Iterable[Iterator[tuple[Feed, int]]]) -> Iterator[tuple[Feed, int]]:
    for group in zip(*passes, strict=True):
        yield jax.tree.map(lambda *parts: np.stack(parts), *(feeds for feeds, _ in group)), group[0][1]


def _constants(worlds: Sequence[World]) -> PyTree:
    every = (world.constants for world in worlds)
    return jax.tree.map(lambda *leaves: leaves[0] if _is_one(leaves) else jnp.stack(leaves), *every)


def _train_pieces(ask: Epoch) -> Iterator[tuple[Feed, int]]:
    world = ask.seed.world
    rows = world.tasks[ask.place.task].train
    plan = train_plan(len(rows.index), world.batch_size, world.spec, **ask.place._asdict())
    return pieces(world.input, rows, plan)


def _score_pieces(world: World, task: int) -> Iterator[tuple[Feed, int]]:
    rows = world.tasks[task].score
    return pieces(world.input, rows, test_plan(len(rows.index), world.batch_size, world.spec))


def _is_one(leaves: tuple) -> bool:
    return all(leaf is leaves[0] for leaf in leaves)


@jax.jit
def stack(trees: list[PyTree]) -> PyTree:
    """One tree, with a leading axis of seeds, of several."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnums=1)
def unstack(tree: PyTree, number: int) -> list[PyTree]:
    """The trees of `stack`."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(number)]
