"""What a whole epoch adds to its training steps."""

import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax

from lifeq_jax.core.config import Recipe
from lifeq_jax.data.inputs import Input
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.resident import resident
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.bench import (
    BenchResult,
    Run,
    alternate,
    bench_recipe,
    check_counts,
    closing,
    first_state,
    medians_of_ratios,
    random_batch,
    step_work,
    surroundings,
)
from lifeq_jax.train.bench_input import generate, spec_of
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.loop import Place, advance_of, make_advance, make_scorer, train_epoch
from lifeq_jax.train.mesh import Devices
from lifeq_jax.train.step import make_step

MODELS = ("resnet20", "mlp")
EPOCH, STEPS, CONTROL = "epoch", "steps", "steps again"
GOAL = 0.95  # of the step rate, on an accelerator


def bench_epoch(models: Sequence[str], batch_size: int, bits: int, repeats: int, steps: int) -> BenchResult:
    """Images per second of whole resident epochs of `steps` batches relative to those of the training step alone, for
    each of `models`, in float and LifeQuant at `bits` bits, on generated 32x32 images.

    An epoch is what training runs: plan, feeds, assembly, steps, and the sums read once. The step alone has one batch
    that stays on the device. Steps again are the control. The numbers are by model and bits; in each repeat the
    variants take turns. Refuses numbers below 1."""
    check_counts(repeats=repeats, steps=steps)
    variants = {
        f"{model}, {name}": complete(bench_recipe(model, batch_size, width))
        for model in models
        for name, width in (("float", 32), (f"LifeQuant {bits}-bit", bits))
    }
    data = next(iter(variants.values())).data
    spec = spec_of(data)
    with tempfile.TemporaryDirectory() as folder:
        known, rows = generate(Path(folder), batch_size * steps)
        source = resident(Path(folder), known, spec)
    found = {name: _compare(name, recipe, source, spec, rows, repeats) for name, recipe in variants.items()}
    text = "\n".join(result.text for result in found.values())
    return BenchResult({name: result.numbers for name, result in found.items()}, text)


def _compare(name: str, recipe: Recipe, source: Input, spec: ImageSpec, rows: Rows, repeats: int) -> BenchResult:
    batch_size = recipe.data.batch_size
    steps = len(rows.index) // batch_size
    alone = step_work(recipe).run

    def passes(number: int) -> None:
        alone(number * steps)

    load = os.getloadavg()[0]
    runs = {STEPS: passes, EPOCH: _epochs(recipe, source, spec, rows), CONTROL: passes}
    times, processor = alternate(runs, repeats, 1)
    rates = {part: batch_size * steps / statistics.median(values) for part, values in times.items()}
    shares, work = (
        {part: 1 / ratio for part, ratio in medians_of_ratios(one, STEPS).items()} for one in (times, processor)
    )
    what = f"resident training epoch, {name}, 32x32"
    numbers = {
        "what": what,
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {part: round(rate, 1) for part, rate in rates.items()},
        "share_of_step_rate": {part: round(share, 3) for part, share in shares.items()},
        "share_by_processor_time": {part: round(share, 3) for part, share in work.items()},
        "goal_on_an_accelerator": GOAL,
        **surroundings(load),
    }
    head = f"{what}, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    lines = [
        f"{part:{len(CONTROL)}s} {rate:9.1f} images/s   share of the step rate {shares[part]:.3f} "
        f"(by processor time {work[part]:.3f})"
        for part, rate in rates.items()
    ]
    return BenchResult(numbers, "\n".join([head, *lines, f"goal on an accelerator: {GOAL}", closing(numbers)]))


def _epochs(recipe: Recipe, source: Input, spec: ImageSpec, rows: Rows) -> Run:
    built, data, devices = build_stage(recipe, recipe.stages[-1]), recipe.data, Devices()
    step = make_step(built.network, built.method, built.optimizer, built.loss)
    advance = make_advance(advance_of(step, source), devices)
    scorer = make_scorer(built.network, source, spec, data.batch_size, data.num_classes, devices)
    holder = [first_state(built, random_batch(data), data.num_classes)]

    def run(epochs: int) -> None:
        for epoch in range(epochs):
            holder[0], _ = train_epoch(advance, scorer, rows, holder[0], Place(0, 0, 0, epoch))
        jax.block_until_ready(holder[0])

    return run
