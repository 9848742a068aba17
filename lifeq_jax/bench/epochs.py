"""What a whole resident epoch adds to its training steps, and what more seeds add to an epoch."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lifeq_jax.bench.inputs import generate, spec_of
from lifeq_jax.bench.timing import (
    AGAIN,
    Measured,
    Run,
    alternate,
    check_counts,
    columns_of,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from lifeq_jax.bench.work import bench_recipe, first_state, lifequant, random_batch, step_work
from lifeq_jax.core.config import Recipe
from lifeq_jax.data.inputs import Input
from lifeq_jax.data.resident import resident
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.abreast import Job, make_abreast, train_abreast
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.loop import Advance, Place, Scorer, advance_of, make_advance, make_scorer, train_epoch
from lifeq_jax.train.mesh import Devices
from lifeq_jax.train.step import TrainState, make_step

MODELS = ("resnet20", "mlp")
EPOCH, STEPS = "epoch", "steps"
SHARE_GOAL = 0.95  # of the step rate, on an accelerator
SEEDS, SEEDS_GOAL = 5, 1.5  # so many seeds in so many times the time of one, on an accelerator


class Training(NamedTuple):
    """A stage that is ready to train on generated images."""

    function: Advance
    advance: Advance  # the same, compiled
    scorer: Scorer
    rows: Rows
    state: TrainState


def bench_epoch(models: Sequence[str], batch_size: int, bits: int, repeats: int, steps: int) -> Measured:
    """Images per second of whole resident epochs of `steps` batches relative to those of the training step alone, for
    each of `models`, in float and LifeQuant at `bits` bits, on generated 32x32 images.

    An epoch is what training runs: plan, feeds, assembly, steps, and the sums read once. The step alone has one batch
    that stays on the device. The control is the step alone once more. For each row the variants take turns. Refuses
    numbers below 1."""
    check_counts(repeats=repeats, steps=steps)
    recipes = {
        f"{model}, {name}": complete(recipe)
        for model in models
        for name, recipe in (
            ("float", bench_recipe(model, batch_size, 32)),
            (f"LifeQuant {bits}-bit", lifequant(model, batch_size, bits)),
        )
    }
    before = load()
    found = {name: _epoch_beside_steps(recipe, repeats, steps) for name, recipe in recipes.items()}
    return Measured(
        "resident training epoch, 32x32",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_an_epoch": steps},
        columns_of(found),
        {"goal_of_the_share_on_an_accelerator": SHARE_GOAL},
        surroundings(before),
    )


def _epoch_beside_steps(recipe: Recipe, repeats: int, steps: int) -> dict[str, float]:
    alone = step_work(recipe).run

    def passes(number: int) -> None:
        alone(number * steps)

    runs = {STEPS: passes, EPOCH: _epochs(_training(recipe, steps)), STEPS + AGAIN: passes}
    times, processor = alternate(runs, repeats, 1)
    seconds = medians(times)
    # a rate is the inverse of a time, so the share of the step rate is the inverse of the ratio of times
    share, by_processor = ({name: 1 / x for name, x in medians_of_ratios(t, STEPS).items()} for t in (times, processor))
    return {
        "images_per_second_of_steps_alone": recipe.data.batch_size * steps / seconds[STEPS],
        "images_per_second": recipe.data.batch_size * steps / seconds[EPOCH],
        "share_of_step_rate": share[EPOCH],
        "share_by_processor_time": by_processor[EPOCH],
        "control": share[STEPS + AGAIN],
        "control_by_processor_time": by_processor[STEPS + AGAIN],
    }


def bench_seeds(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Measured:
    """The time of a resident epoch of LifeQuant for SEEDS seeds side by side, relative to one seed's.

    On a CPU training does not put seeds side by side (`train/abreast.gains`); it is measured all the same."""
    check_counts(repeats=repeats, steps=steps)
    training = _training(complete(lifequant(model, batch_size, bits)), steps)
    one, many = "1 seed", f"{SEEDS} seeds"
    before = load()
    single = _epochs(training)
    times, _ = alternate({one: single, many: _abreast(training), one + AGAIN: single}, repeats, 1)
    images = {name: batch_size * steps * (SEEDS if name == many else 1) for name in times}
    return Measured(
        f"resident training epoch, {model}, LifeQuant {bits}-bit, 32x32",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_an_epoch": steps},
        {
            "images_per_second": {name: images[name] / seconds for name, seconds in medians(times).items()},
            "time_ratio_to_1_seed": medians_of_ratios(times, one),
        },
        {f"goal_of_the_ratio_of_{SEEDS}_seeds_on_an_accelerator": SEEDS_GOAL},
        surroundings(before),
    )


def _training(recipe: Recipe, steps: int) -> Training:
    built, data, devices = build_stage(recipe, recipe.stages[-1]), recipe.data, Devices()
    source, rows = _images(recipe, steps)
    function = advance_of(make_step(built.network, built.method, built.optimizer, built.loss), source)
    scorer = make_scorer(built.network, source, spec_of(data), data.batch_size, data.num_classes, devices)
    state = first_state(built, random_batch(data), data.num_classes)
    return Training(function, make_advance(function, devices), scorer, rows, state)


def _images(recipe: Recipe, steps: int) -> tuple[Input, Rows]:
    with tempfile.TemporaryDirectory() as folder:
        known, rows = generate(Path(folder), recipe.data.batch_size * steps)
        return resident(Path(folder), known, spec_of(recipe.data)), rows


def _copied(state: Any) -> Any:
    # training donates its state, and runs of one Training start from the same
    return jax.tree.map(lambda leaf: leaf.copy(), state)


def _epochs(training: Training) -> Run:
    holder = [_copied(training.state)]

    def run(epochs: int) -> None:
        for epoch in range(epochs):
            place = Place(0, 0, 0, epoch)
            holder[0], _ = train_epoch(training.advance, training.scorer, training.rows, holder[0], place)
        jax.block_until_ready(holder[0])

    return run


def _abreast(training: Training) -> Run:
    scorers = [training.scorer] * SEEDS
    constants = [scorer.constants for scorer in scorers]
    advance = make_abreast([training.function], training.scorer.evaluation, constants).advances[0]
    holder = [[_copied(training.state) for _ in scorers]]

    def run(epochs: int) -> None:
        for epoch in range(epochs):
            jobs = [
                Job(scorer, training.rows, state, Place(seed, 0, 0, epoch))
                for seed, (scorer, state) in enumerate(zip(scorers, holder[0], strict=True))
            ]
            holder[0] = [state for state, _ in train_abreast(advance, jobs)]
        jax.block_until_ready(holder[0])

    return run
