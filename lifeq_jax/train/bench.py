"""Speed, as ratios within one run: variants take turns, so a change in the machine's load meets all of them."""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.types import Batch
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.run_folder import commit, machine
from lifeq_jax.train.step import TrainState, make_step

STEPS_OF_TASK = 1000  # what a schedule sees


class BenchResult(NamedTuple):
    """Numbers for a file, and the same as text."""

    numbers: dict[str, Any]
    text: str


def bench_step(batch_size: int, bits: int, repeats: int, steps: int) -> BenchResult:
    """The training step of ResNet-20 on 32x32 images: float, `bits`-bit, and float again as a control."""
    recipe = Recipe(
        name="bench",
        data=Data("", "", 1, 10, (32, 32, 3), (32, 32), 4, True, (0.5,) * 3, (0.5,) * 3, batch_size=batch_size),
        model=Part("resnet20"),
        stages=(Stage("bench", bits, bits, 1, 0.01),),
    )
    floating = dataclasses.replace(recipe, stages=(Stage("bench", 32, 32, 1, 0.01),))
    variants = {"float": floating, f"{bits}-bit": recipe, "float again": floating}
    return compare("training step, ResNet-20, 32x32", variants, repeats, steps)


def bench_oscillation(recipe: Recipe, repeats: int, steps: int) -> BenchResult:
    """The training step of a recipe's last stage under every row of OSCILLATIONS, and without any again as a control.

    Rows other than the recipe's own take their default arguments."""

    def with_row(name: str) -> Recipe:
        own = recipe.oscillation
        return dataclasses.replace(recipe, oscillation=own if own.name == name else Part(name))

    others = {name: with_row(name) for name in OSCILLATIONS if name != "none"}
    variants = {"none": with_row("none"), **others, "none again": with_row("none")}
    last = recipe.stages[-1]
    bits = f"{last.weight_bits}/{last.act_bits} bits"
    return compare(f"training step, {recipe.model.name}, {bits}, {recipe.data.crop}", variants, repeats, steps)


def compare(what: str, variants: Mapping[str, Recipe], repeats: int, steps: int) -> BenchResult:
    """Images per second of the last stage of each recipe. Their batch sizes are equal.

    Each repeat runs `steps` steps of every variant in turn. Reported: the median rate, and the median over repeats of
    the ratio of a variant's time to the first's. A control's ratio says how far from 1 noise alone leads."""
    names = list(variants)
    batch_size = variants[names[0]].data.batch_size
    runners = {name: _runner(complete(recipe)) for name, recipe in variants.items()}
    for run in runners.values():
        run(2)
    times: dict[str, list[float]] = {name: [] for name in names}
    load = os.getloadavg()[0]
    for _ in range(repeats):
        for name, run in runners.items():
            start = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - start) / steps)
    rates = {name: batch_size / statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(ours / base for ours, base in zip(values, times[names[0]], strict=True))
        for name, values in times.items()
    }
    numbers = {
        "what": what,
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        f"time_ratio_to_{names[0]}": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "load_before": round(load, 2),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }
    width = max(map(len, names))
    lines = [
        f"{name:{width}s} {rates[name]:9.1f} images/s   time ratio to {names[0]} {ratios[name]:.3f}" for name in names
    ]
    head = f"{what}, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    return BenchResult(numbers, "\n".join([head, *lines, f"load before the run: {load:.2f}; {numbers['machine']}"]))


def _runner(recipe: Recipe) -> Callable[[int], None]:
    built = build_stage(recipe, recipe.stages[-1])
    key, data = key_for(0), recipe.data
    batch = Batch(
        image=jax.random.normal(key, (data.batch_size, *data.crop, data.image[2])),
        label=jnp.arange(data.batch_size, dtype=jnp.int32) % data.num_classes,
        weight=jnp.ones(data.batch_size),
        task=jnp.zeros(data.batch_size, jnp.int32),
        is_replay=jnp.zeros(data.batch_size, bool),
    )
    params, batch_stats = built.network.init(0)
    params = calibrate(built.network.observe_ranges, params, batch_stats, [batch.image])
    state = TrainState(
        params,
        batch_stats,
        built.optimizer.init(params),
        built.method.init(params),
        jnp.ones(data.num_classes),
        jnp.zeros((), jnp.int32),
        jnp.array(STEPS_OF_TASK, jnp.int32),
        jnp.ones(()),
    )
    step = jax.jit(make_step(built.network, built.method, built.optimizer, built.loss), donate_argnums=0)
    holder = [state]

    def run(steps: int) -> None:
        for _ in range(steps):
            holder[0], _ = step(holder[0], batch, key)
        jax.block_until_ready(holder[0])

    return run
