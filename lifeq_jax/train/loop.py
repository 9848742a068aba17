"""Epochs and evaluations: feeds the compiled steps, and transfers numbers to the host only when an epoch ends."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.keys import key_for
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.data.inputs import Feed, Input
from lifeq_jax.data.order import Plan, test_plan, train_plan
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.classify import Score, zero_score
from lifeq_jax.train.mesh import agreed, is_writer
from lifeq_jax.train.step import NEVER_BAD, Step, Totals, TrainState, add_totals
from lifeq_jax.train.world import World


class Place(NamedTuple):
    """Where training stands: the numbers that data order, augmentation and noise are functions of."""

    seed: int
    stage: int
    task: int
    epoch: int

    def __str__(self) -> str:
        return f"task {self.task + 1} epoch {self.epoch + 1}"


Carry = tuple[TrainState, Totals]
Advance = Callable[[TrainState, Totals, PyTree, Feed, np.int32, np.ndarray], Carry]
"""(state, totals, constants of the input, feeds (n, B, ...), how many of them count, place) -> (state, totals)"""

ScoreFeeds = Callable[[PyTree, PyTree, Score, PyTree, Feed, np.int32], Score]
"""(params, batch_stats, score so far, constants of the input, feeds (n, B, ...), how many of them count) -> score"""


def advance_of(step: Step, source: Input) -> Advance:
    """A function that runs one step for each of a stack of feeds, and assembles their batches."""

    def advance(
        state: TrainState, totals: Totals, constants: PyTree, feeds: Feed, count: np.int32, place: np.ndarray
    ) -> Carry:
        def one(carry: Carry, feed: Feed) -> Carry:
            state, totals = carry
            key = key_for(place[0], place[1], place[2], state.step)
            state, new = step(state, source.assemble(constants, feed), key)
            return state, add_totals(totals, new)

        return _repeated(one, (state, totals), feeds, count)

    return advance


def score_feeds_of(score: Callable[[PyTree, PyTree, Score, Batch], Score], source: Input) -> ScoreFeeds:
    """A function that scores a stack of feeds, and assembles their batches."""

    def score_feeds(
        params: PyTree, batch_stats: PyTree, so_far: Score, constants: PyTree, feeds: Feed, count: np.int32
    ) -> Score:
        def one(so_far: Score, feed: Feed) -> Score:
            return score(params, batch_stats, so_far, source.assemble(constants, feed))

        return _repeated(one, so_far, feeds, count)

    return score_feeds


C = TypeVar("C")


def _repeated(one: Callable[[C, Feed], C], carry: C, feeds: Feed, count: np.int32) -> C:
    """`one` over the first `count` of n stacked feeds. A single feed always counts, and needs no loop."""

    def at(index: Any, carry: C) -> C:
        return one(carry, jax.tree.map(lambda part: part[index], feeds))

    return at(0, carry) if len(feeds.label) == 1 else jax.lax.fori_loop(0, count, at, carry)


PIECE = 128  # steps of one call if the images are on an accelerator


def piece_length() -> int:
    """Steps of one call. One on a CPU, where a ResNet's step in a loop was 13 times slower (results/LOG.md)."""
    return 1 if jax.default_backend() == "cpu" else PIECE


def pieces(source: Input, rows: Rows, plan: Plan) -> Iterator[tuple[Feed, int]]:
    """The feeds of a pass in stacks of one height n, (n, B, ...), and how many of each stack's steps count.

    n is `piece_length()` if the input can give a whole pass at once (`Input.whole`; the last stack is filled up with
    zeros), else 1."""
    length = piece_length()
    if source.whole is None or length == 1:
        for feed in source.feeds(rows, plan, 0):
            yield jax.tree.map(lambda part: part[None], feed), 1
        return
    whole = source.whole(rows, plan)
    for first in range(0, len(plan.row), length):
        piece = jax.tree.map(partial(_filled, first=first, length=length), whole)
        yield piece, min(length, len(plan.row) - first)


def _filled(part: np.ndarray, first: int, length: int) -> np.ndarray:
    own = part[first : first + length]
    return np.pad(own, [(0, length - len(own)), *[(0, 0)] * (part.ndim - 1)])


class EpochResult(NamedTuple):
    """The measurements of one epoch."""

    loss: float  # mean over steps
    penalty: float  # mean over steps
    counts: PyTree  # of the objective, summed over the training batches, each before its update
    images_per_second: float
    first_bad: int | None  # first step of the task whose loss or update is not finite


def train_epoch(
    advance: Advance, totals: Totals, world: World, rows: Rows, state: TrainState, place: Place
) -> tuple[TrainState, EpochResult]:
    """One epoch over `rows`; `totals` are zero. `state` and `totals` are donated."""
    plan = train_plan(len(rows.index), world.batch_size, world.spec, **place._asdict())
    where, devices = np.array(place[:3], np.int32), world.devices
    start = time.perf_counter()
    state, totals = devices.replicate((agreed(state), totals))
    hidden = None if is_writer() else True  # None: hidden unless the output is a terminal
    with tqdm(desc=str(place), total=len(plan.row), leave=False, disable=hidden, unit="step") as bar:
        for feeds, count in pieces(world.input, rows, devices.part(plan)):
            state, totals = advance(state, totals, world.constants, devices.split(feeds), np.int32(count), where)
            bar.update(count)
    state, totals = devices.local(state), jax.device_get(totals)
    return state, result_of(totals, world.batch_size, time.perf_counter() - start)


def result_of(totals: Totals, batch_size: int, seconds: float) -> EpochResult:
    """The result of an epoch from its totals, which are on the host."""
    return EpochResult(
        loss=float(totals.loss / totals.steps),
        penalty=float(totals.penalty / totals.steps),
        counts=totals.counts,
        images_per_second=float(totals.steps * batch_size / seconds),
        first_bad=None if totals.first_bad == NEVER_BAD else int(totals.first_bad),
    )


Assemble = Callable[[PyTree, Feed], Batch]  # (constants of the input, feed) -> batch


def batches(assemble: Assemble, world: World, rows: Rows) -> Iterable[Batch]:
    """One pass over `rows`, in order and without augmentation, the last batch padded."""
    for feed in world.input.feeds(rows, test_plan(len(rows.index), world.batch_size, world.spec), 0):
        yield assemble(world.input.constants, feed)


def augmented_images(assemble: Assemble, world: World, place: Place, count: int) -> Iterable[jax.Array]:
    """The images (B, H, W, C) of the first `count` training batches of an epoch, or of all where it has fewer."""
    rows = world.tasks[place.task].train
    plan = train_plan(len(rows.index), world.batch_size, world.spec, **place._asdict())
    for feed in world.input.feeds(rows, Plan(*(part[:count] for part in plan)), 0):
        yield assemble(world.input.constants, feed).image


def evaluate_rows(score: ScoreFeeds, world: World, rows: Rows, params: PyTree, batch_stats: PyTree) -> Score:
    """The score of a set of rows in evaluation mode, as numbers on the host."""
    devices, plan = world.devices, test_plan(len(rows.index), world.batch_size, world.spec)
    params, batch_stats, so_far = devices.replicate((params, batch_stats, zero_score(world.num_classes)))
    for feeds, count in pieces(world.input, rows, devices.part(plan)):
        so_far = score(params, batch_stats, so_far, world.constants, devices.split(feeds), np.int32(count))
    return jax.device_get(so_far)
