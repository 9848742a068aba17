"""Several seeds in one program: their steps side by side, each with its own state, order, augmentation and noise."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.types import PyTree
from lifeq_jax.data.order import train_plan
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.loop import Advance, EpochResult, Place, Scorer, label_of, pieces, result_of
from lifeq_jax.train.step import TrainState, zero_totals


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


def make_abreast(advance: Advance, constants: Sequence[PyTree]) -> Advance:
    """Jits `advance` over a leading axis of seeds in all but the number of steps. State and totals are donated.

    `constants`: those of each seed's input. Arrays that all seeds share, the images above all, get no such axis."""
    axes = jax.tree.map(lambda *leaves: None if _is_one(leaves) else 0, *constants)
    return jax.jit(jax.vmap(advance, in_axes=(0, 0, axes, 0, None, 0)), donate_argnums=(0, 1))


def train_abreast(advance: Advance, jobs: Sequence[Job]) -> list[tuple[TrainState, EpochResult]]:
    """One epoch of the same number of steps for every seed. Raises Diverged, naming step and seed, when a loss was not
    finite. `advance` comes from `make_abreast`."""
    start, label = time.perf_counter(), label_of(jobs[0].place)
    where = np.array([job.place[:3] for job in jobs], np.int32)
    state, totals = _stack([job.state for job in jobs]), _stack([zero_totals()] * len(jobs))
    constants = jax.tree.map(
        lambda *leaves: leaves[0] if _is_one(leaves) else jnp.stack(leaves), *(job.data.constants for job in jobs)
    )
    with tqdm(desc=label, total=jobs[0].steps, leave=False, disable=None, unit="step") as bar:
        for group in zip(*map(_pieces, jobs), strict=True):
            feeds = jax.tree.map(lambda *parts: np.stack(parts), *(feed for feed, _ in group))
            count = group[0][1]
            state, totals = advance(state, totals, constants, feeds, np.int32(count), where)
            bar.update(count)
    totals, states = jax.device_get(totals), _unstack(state, len(jobs))
    seconds = time.perf_counter() - start
    return [
        (
            states[i],
            result_of(jax.tree.map(lambda part, i=i: part[i], totals), f"{label} of seed {job.place.seed}", seconds),
        )
        for i, job in enumerate(jobs)
    ]


def _pieces(job: Job):
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
