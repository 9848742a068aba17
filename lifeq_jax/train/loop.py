"""Epochs and evaluations: pushes feeds through the compiled steps, and looks at a number only when an epoch ends."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

from lifeq_jax.core.keys import key_for
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.data.inputs import Feed, Input
from lifeq_jax.data.order import ImageSpec, Plan, test_plan, train_plan
from lifeq_jax.data.tables import Rows
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


class Scorer(NamedTuple):
    """A compiled evaluation beside the input that feeds it."""

    score: Callable[[PyTree, PyTree, Score, PyTree, Feed], Score]
    assemble: Callable[[PyTree, Feed], Batch]
    source: Input
    spec: ImageSpec
    batch_size: int
    num_classes: int


def make_scorer(network: Network, source: Input, spec: ImageSpec, batch_size: int, num_classes: int) -> Scorer:
    """Jits an evaluation together with the making of its batches."""
    evaluate = make_evaluate(network)

    def score(params: PyTree, batch_stats: PyTree, so_far: Score, constants: PyTree, feed: Feed) -> Score:
        return evaluate(params, batch_stats, so_far, source.assemble(constants, feed))

    return Scorer(jax.jit(score), jax.jit(source.assemble), source, spec, batch_size, num_classes)


Advance = Callable[[TrainState, Totals, PyTree, Feed, jax.Array], tuple[TrainState, Totals]]


def make_advance(step: Step, source: Input) -> Advance:
    """Jits a step together with the making of its batch. State and totals are donated.

    Traced once for all tasks of a stage: they differ in data, not in shapes."""

    def advance(state: TrainState, totals: Totals, constants: PyTree, feed: Feed, place: jax.Array):
        key = key_for(place[0], place[1], place[2], state.step)
        state, new = step(state, source.assemble(constants, feed), key)
        return state, add_totals(totals, new)

    return jax.jit(advance, donate_argnums=(0, 1))


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
    where = jnp.array(place[:3], jnp.int32)
    start, totals = time.perf_counter(), zero_totals()
    label = f"task {place.task} epoch {place.epoch + 1}"
    feeds = tqdm(data.source.feeds(rows, plan, 0), label, len(plan.row), leave=False, disable=None, unit="step")
    for feed in feeds:
        state, totals = advance(state, totals, data.source.constants, feed, where)
    totals = jax.device_get(totals)
    if totals.first_bad != NEVER_BAD:
        raise Diverged(f"the loss is not finite at step {totals.first_bad} of {label}")
    return state, EpochResult(
        loss=float(totals.loss / totals.steps),
        penalty=float(totals.penalty / totals.steps),
        accuracy=float(totals.correct / totals.images),
        images_per_second=float(totals.images / (time.perf_counter() - start)),
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
    score = zero_score(scorer.num_classes)
    for feed in scorer.source.feeds(rows, test_plan(len(rows.index), scorer.batch_size, scorer.spec), 0):
        score = scorer.score(params, batch_stats, score, scorer.source.constants, feed)
    return jax.device_get(score)


def accuracy_of(score: Score) -> float:
    """Share of correct examples, 0..1; NaN for an empty set."""
    count = score.confusion.sum()
    return float(score.confusion.trace() / count) if count else float("nan")
