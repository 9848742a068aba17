"""Several seeds in one program: their steps side by side, each with its own state, order, augmentation and noise."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.types import PyTree
from lifeq_jax.data.inputs import Feed
from lifeq_jax.data.order import test_plan, train_plan
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.loop import Advance, EpochResult, Evaluation, Place, Scorer, label_of, pieces, result_of
from lifeq_jax.train.step import Score, TrainState, zero_score, zero_totals


class Job(NamedTuple):
    """An epoch of one seed."""

    data: Scorer
    rows: Rows
    state: TrainState
    place: Place

    @property
    def steps(self) -> int:
        """Of the epoch."""
        return len(self.rows.index) // self.data.batch_size


class Abreast(NamedTuple):
    """The functions of a stage, compiled over a leading axis of seeds in all but the number of steps."""

    advances: list[Advance]  # state and totals are donated
    score: Evaluation


def make_abreast(functions: Sequence[Advance], evaluation: Evaluation, constants: Sequence[PyTree]) -> Abreast:
    """Jits the functions for several seeds.

    `constants`: those of each seed's input. Arrays that all seeds share, the images above all, get no leading axis."""
    axes = jax.tree.map(lambda *leaves: None if _is_one(leaves) else 0, *constants)
    train, test = (0, 0, axes, 0, None, 0), (0, 0, 0, axes, 0, None)
    return Abreast(
        advances=[jax.jit(jax.vmap(function, in_axes=train), donate_argnums=(0, 1)) for function in functions],
        score=jax.jit(jax.vmap(evaluation, in_axes=test)),
    )


def gains() -> bool:
    """Whether seeds side by side are faster than one after another. Not on a CPU, where products and convolutions with
    a batch of weights took three times as long (results/LOG.md)."""
    return jax.default_backend() != "cpu"


def train_abreast(advance: Advance, jobs: Sequence[Job]) -> list[tuple[TrainState, EpochResult]]:
    """One epoch of the same number of steps for every seed. Raises Diverged, naming step and seed, when a loss was not
    finite. `advance` comes from `make_abreast`."""
    start, label = time.perf_counter(), label_of(jobs[0].place)
    where = np.array([job.place[:3] for job in jobs], np.int32)
    state, totals = _stack([job.state for job in jobs]), _stack([zero_totals()] * len(jobs))
    constants = _constants([job.data for job in jobs])
    with tqdm(desc=label, total=jobs[0].steps, leave=False, disable=None, unit="step") as bar:
        for feeds, count in _side_by_side(_pieces(job) for job in jobs):
            state, totals = advance(state, totals, constants, feeds, np.int32(count), where)
            bar.update(count)
    totals, states = jax.device_get(totals), _unstack(state, len(jobs))
    seconds = time.perf_counter() - start
    results = [
        result_of(jax.tree.map(lambda part, i=i: part[i], totals), job.place, seconds) for i, job in enumerate(jobs)
    ]
    return list(zip(states, results, strict=True))


def score_abreast(
    score: Evaluation, scorers: Sequence[Scorer], rows: Sequence[Rows], weights: Sequence[tuple[PyTree, PyTree]]
) -> list[Score]:
    """The score of every seed's rows, of the same number of batches, with its (params, batch_stats), on the host.

    `score` comes from `make_abreast`."""
    params, batch_stats = _stack(list(weights))
    found = _stack([zero_score(scorers[0].num_classes)] * len(scorers))
    passes = (
        pieces(scorer.source, own, test_plan(len(own.index), scorer.batch_size, scorer.spec))
        for scorer, own in zip(scorers, rows, strict=True)
    )
    for feeds, count in _side_by_side(passes):
        found = score(params, batch_stats, found, _constants(scorers), feeds, np.int32(count))
    found = jax.device_get(found)
    return [jax.tree.map(lambda part, i=i: part[i], found) for i in range(len(scorers))]


def _side_by_side(passes: Iterable[Iterator[tuple[Feed, int]]]) -> Iterator[tuple[Feed, int]]:
    for group in zip(*passes, strict=True):
        yield jax.tree.map(lambda *parts: np.stack(parts), *(feeds for feeds, _ in group)), group[0][1]


def _constants(scorers: Sequence[Scorer]) -> PyTree:
    every = (scorer.constants for scorer in scorers)
    return jax.tree.map(lambda *leaves: leaves[0] if _is_one(leaves) else jnp.stack(leaves), *every)


def _pieces(job: Job) -> Iterator[tuple[Feed, int]]:
    data = job.data
    plan = train_plan(len(job.rows.index), data.batch_size, data.spec, **job.place._asdict())
    return pieces(data.source, job.rows, plan)


def _is_one(leaves: tuple) -> bool:
    return all(leaf is leaves[0] for leaf in leaves)


@jax.jit
def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnums=1)
def _unstack(tree: PyTree, number: int) -> list[PyTree]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(number)]
