"""Epochs and evaluations: pushes feeds through the compiled steps, and looks at a number only when an epoch ends."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from lifeq_jax.core.keys import key_for
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.data.inputs import Feed, Input
from lifeq_jax.data.order import ImageSpec, Plan, test_plan, train_plan
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.mesh import Devices, agreed, is_writer
from lifeq_jax.train.step import (
    NEVER_BAD,
    Network,
    Score,
    Step,
    Totals,
    TrainState,
    add_totals,
    make_evaluate,
    zero_score,
    zero_totals,
)


class Place(NamedTuple):
    """Where training stands: the numbers that data order, augmentation and noise are functions of."""

    seed: int
    stage: int
    task: int
    epoch: int


Evaluation = Callable[[PyTree, PyTree, Score, PyTree, Feed, np.int32], Score]
"""(params, batch_stats, score so far, constants, feeds (n, B, ...), how many of them count) -> score"""


class Scorer(NamedTuple):
    """An evaluation beside the input that feeds it."""

    evaluation: Evaluation
    score: Evaluation  # the same, compiled
    assemble: Callable[[PyTree, Feed], Batch]
    source: Input
    constants: PyTree  # of the source, on all devices
    devices: Devices
    spec: ImageSpec
    batch_size: int
    num_classes: int


def make_scorer(
    network: Network,
    source: Input,
    spec: ImageSpec,
    batch_size: int,
    num_classes: int,
    devices: Devices = Devices(),  # noqa: B008
) -> Scorer:
    """Jits an evaluation together with the making of its batches."""
    evaluate = make_evaluate(network, devices.axis_name)

    def evaluation(
        params: PyTree, batch_stats: PyTree, so_far: Score, constants: PyTree, feeds: Feed, count: np.int32
    ) -> Score:
        def one(so_far: Score, feed: Feed) -> Score:
            return evaluate(params, batch_stats, so_far, source.assemble(constants, feed))

        return _repeated(one, so_far, feeds, count)

    constants = devices.replicate(source.constants)
    score, assemble = devices.compile(evaluation, split=4), jax.jit(source.assemble)
    return Scorer(evaluation, score, assemble, source, constants, devices, spec, batch_size, num_classes)


C = TypeVar("C")


def _repeated(one: Callable[[C, Feed], C], carry: C, feeds: Feed, count: np.int32) -> C:
    """`one` over the first `count` of n stacked feeds. A single feed counts always, and needs no loop."""

    def at(index: Any, carry: C) -> C:
        return one(carry, jax.tree.map(lambda part: part[index], feeds))

    return at(0, carry) if len(feeds.label) == 1 else jax.lax.fori_loop(0, count, at, carry)


PIECE = 128  # steps that one call runs where the images are on an accelerator

Carry = tuple[TrainState, Totals]
Advance = Callable[[TrainState, Totals, PyTree, Feed, np.int32, np.ndarray], Carry]


def advance_of(step: Step, source: Input) -> Advance:
    """The steps of a piece together with the making of their batches: (state, totals, constants, feeds (n, B, ...), how
    many of them count, place) -> (state, totals)."""

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


def make_advance(advance: Advance, devices: Devices) -> Advance:
    """Jits the steps of a piece. State and totals are donated.

    Traced once for all tasks of a stage: they differ in data, not in shapes."""
    return devices.compile(advance, split=3, donate=(0, 1))


def piece_length() -> int:
    """Steps that one call runs. One on a CPU: there a ResNet's step in a loop was 13 times slower (results/LOG.md)."""
    return 1 if jax.default_backend() == "cpu" else PIECE


def pieces(source: Input, rows: Rows, plan: Plan) -> Iterator[tuple[Feed, int]]:
    """The feeds of a pass in stacks of one shape, (n, B, ...), and how many of each stack's steps count.

    n is `piece_length` where the input has the whole pass at hand, the last stack filled up; else 1."""
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
    found = part[first : first + length]
    return np.pad(found, [(0, length - len(found)), *[(0, 0)] * (part.ndim - 1)])


class EpochResult(NamedTuple):
    """What one epoch measured."""

    loss: float  # mean over steps, nats
    penalty: float  # mean over steps
    accuracy: float  # of the training batches as they were trained on, 0..1
    images_per_second: float


def train_epoch(
    advance: Advance, data: Scorer, rows: Rows, state: TrainState, place: Place
) -> tuple[TrainState, EpochResult]:
    """One epoch over `rows`. Raises Diverged, naming the step, when a loss was not finite."""
    plan = train_plan(len(rows.index), data.batch_size, data.spec, **place._asdict())
    where, devices = np.array(place[:3], np.int32), data.devices
    start = time.perf_counter()
    state, totals = devices.replicate((agreed(state), zero_totals()))
    label = label_of(place)
    hidden = None if is_writer() else True  # None: where the output is no terminal
    with tqdm(desc=label, total=len(plan.row), leave=False, disable=hidden, unit="step") as bar:
        for feeds, count in pieces(data.source, rows, devices.part(plan)):
            parts = (data.constants, devices.split(feeds), np.int32(count), where)
            state, totals = advance(state, totals, *parts)
            bar.update(count)
    state, totals = devices.local(state), jax.device_get(totals)
    return state, result_of(totals, place, time.perf_counter() - start)


def label_of(place: Place) -> str:
    """What an epoch is called."""
    return f"task {place.task} epoch {place.epoch + 1}"


def result_of(totals: Totals, place: Place, seconds: float) -> EpochResult:
    """What an epoch's totals, on the host, come to. Raises Diverged, naming the step, when a loss was not finite."""
    if totals.first_bad != NEVER_BAD:
        where = f"step {totals.first_bad} of {label_of(place)} of seed {place.seed}"
        raise Diverged(f"the loss is not finite at {where}")
    return EpochResult(
        loss=float(totals.loss / totals.steps),
        penalty=float(totals.penalty / totals.steps),
        accuracy=float(totals.correct / totals.images),
        images_per_second=float(totals.images / seconds),
    )


def batches(scorer: Scorer, rows: Rows) -> Iterable[Batch]:
    """One pass over `rows`, in order and without augmentation, the last batch padded."""
    for feed in scorer.source.feeds(rows, test_plan(len(rows.index), scorer.batch_size, scorer.spec), 0):
        yield scorer.assemble(scorer.source.constants, feed)


def training_images(scorer: Scorer, rows: Rows, place: Place, count: int) -> Iterable[jax.Array]:
    """The images of the first `count` training batches of an epoch (fewer where it has fewer), augmented."""
    plan = train_plan(len(rows.index), scorer.batch_size, scorer.spec, **place._asdict())
    first = Plan(*(part[:count] for part in plan))
    for feed in scorer.source.feeds(rows, first, 0):
        yield scorer.assemble(scorer.source.constants, feed).image


def score_rows(scorer: Scorer, rows: Rows, params: PyTree, batch_stats: PyTree) -> Score:
    """The score of a set of rows in evaluation mode, as numbers on the host."""
    devices, plan = scorer.devices, test_plan(len(rows.index), scorer.batch_size, scorer.spec)
    params, batch_stats, score = devices.replicate((params, batch_stats, zero_score(scorer.num_classes)))
    for feeds, count in pieces(scorer.source, rows, devices.part(plan)):
        score = scorer.score(params, batch_stats, score, scorer.constants, devices.split(feeds), np.int32(count))
    return jax.device_get(score)


def accuracy_of(score: Score) -> float:
    """Share of correct examples, 0..1; NaN for an empty set."""
    count = score.confusion.sum()
    return float(score.confusion.trace() / count) if count else float("nan")
