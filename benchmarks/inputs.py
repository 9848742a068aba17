"""The speed of the two inputs, alone and feeding a training step."""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import jax
import numpy as np

from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    Run,
    alternate,
    check_counts,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from benchmarks.work import first_state, lifequant, on_noise, random_batch
from lifeq_jax.core.config import Recipe
from lifeq_jax.data.inputs import Feed
from lifeq_jax.data.order import train_plan
from lifeq_jax.train.build import complete
from lifeq_jax.train.stage import compile_stage
from lifeq_jax.train.step import zero_totals
from lifeq_jax.train.world import make_world, read_source

INPUTS: dict[str, Literal["resident", "pipeline"]] = {"resident": "resident", "tf.data": "pipeline"}  # data.input
FED, READY = "feeding steps", "with feeds at hand"


def bench_input(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> BenchmarkResult:
    """Images per second of each input alone and of LifeQuant's training step fed by it, on generated JPEG files.

    Waiting: the share of a fed step's time that the same step with a ready feed does not need. `steps` batches are one
    pass over the files. Without TensorFlow only the resident input is measured."""
    check_counts(repeats=repeats, steps=steps)
    recipe = complete(lifequant(model, batch_size, bits))
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    names = [name for name in INPUTS if name != "tf.data" or has_tensorflow]
    before = load()
    with on_noise(recipe, steps) as noisy:
        runs: dict[str, Run] = {}
        for name in names:
            data = dataclasses.replace(noisy.data, input=INPUTS[name])
            runs |= _runs(name, dataclasses.replace(noisy, data=data))
        base = f"{names[0]} {READY}"
        runs[base + AGAIN] = runs[base]
        times, _ = alternate(runs, repeats, 1)
    fed = {f"{name} {FED}": f"{name} {READY}" for name in names}
    return BenchmarkResult(
        f"inputs of a training step, {model}, LifeQuant {bits}-bit, 32x32",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_each": steps},
        {
            "images_per_second": {name: batch_size * steps / seconds for name, seconds in medians(times).items()},
            "waiting_share": {name: 1 - medians_of_ratios(times, name)[ready] for name, ready in fed.items()},
        },
        {
            "time_ratio_of_the_control": medians_of_ratios(times, base)[base + AGAIN],
            **({} if has_tensorflow else {"tf.data": "TensorFlow is not installed, so this input is not measured"}),
        },
        surroundings(before),
    )


def _runs(name: str, recipe: Recipe) -> dict[str, Run]:
    """Three runs of one pass over the images: batches alone, steps fed by the input, and steps with ready feeds."""
    world = make_world(recipe, read_source(recipe))
    stage, rows = compile_stage(recipe, 0, world), world.tasks[0].train
    plan = train_plan(len(rows.index), world.batch_size, world.spec, seed=0, stage=0, task=0, epoch=0)
    feeds = partial(world.input.feeds, rows, plan, 0)
    state = first_state(stage.built, random_batch(recipe.data), world.num_classes)
    holder, place, ready = [(state, zero_totals(stage.objective))], np.zeros(3, np.int32), list(feeds())

    def alone(passes: int) -> None:
        for _ in range(passes):
            for feed in feeds():
                batch = stage.assemble(world.constants, feed)
            jax.block_until_ready(batch)

    def train(passes: int, feeds: Callable[[], Iterable[Feed]]) -> None:
        for _ in range(passes):
            for feed in feeds():
                piece = jax.tree.map(lambda part: part[None], feed)
                holder[0] = stage.advances[0](*holder[0], world.constants, piece, np.int32(1), place)
            jax.block_until_ready(holder[0])

    return {
        f"{name} alone": alone,
        f"{name} {FED}": partial(train, feeds=feeds),
        f"{name} {READY}": partial(train, feeds=lambda: ready),
    }
