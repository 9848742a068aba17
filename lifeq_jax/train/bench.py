"""Speed, as ratios within one run: variants take turns, so a change in the machine's load meets all of them."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.types import Batch
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.run_folder import commit, machine
from lifeq_jax.train.step import TrainState, make_step


class BenchResult(NamedTuple):
    """Numbers for a file, and the same as text."""

    numbers: dict[str, Any]
    text: str


def bench_step(batch_size: int, bits: int, repeats: int, steps: int) -> BenchResult:
    """Training images per second of ResNet-20 on 32x32 images: float, `bits`-bit, and float again as a control.

    Each repeat runs `steps` steps of every variant in turn. Reported: the median rate, and the median over repeats of
    the ratio of a variant's time to the float variant's. The control's ratio says how far from 1 noise alone leads."""
    runners = {
        "float": _runner(batch_size, 32),
        f"{bits}-bit": _runner(batch_size, bits),
        "float again": _runner(batch_size, 32),
    }
    for run in runners.values():
        run(2)
    times: dict[str, list[float]] = {name: [] for name in runners}
    load = os.getloadavg()[0]
    for _ in range(repeats):
        for name, run in runners.items():
            start = time.perf_counter()
            run(steps)
            times[name].append((time.perf_counter() - start) / steps)
    rates = {name: batch_size / statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(ours / base for ours, base in zip(values, times["float"], strict=True))
        for name, values in times.items()
    }
    numbers = {
        "what": "training step, ResNet-20, 32x32",
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "time_ratio_to_float": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "load_before": round(load, 2),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }
    lines = [f"{name:12s} {rates[name]:9.1f} images/s   time ratio to float {ratios[name]:.3f}" for name in runners]
    head = f"ResNet-20, 32x32, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    return BenchResult(numbers, "\n".join([head, *lines, f"load before the run: {load:.2f}; {numbers['machine']}"]))


def _runner(batch_size: int, bits: int) -> Callable[[int], None]:
    recipe = complete(
        Recipe(
            name="bench",
            data=Data("", "", 1, 10, (32, 32, 3), (32, 32), 4, True, (0.5,) * 3, (0.5,) * 3, batch_size),
            model=Part("resnet20"),
            stages=(Stage("bench", bits, bits, 1, 0.01),),
        )
    )
    built = build_stage(recipe, recipe.stages[0])
    key = key_for(0)
    params, batch_stats = built.network.init(0)
    state = TrainState(
        params,
        batch_stats,
        built.optimizer.init(params),
        built.method.init(params),
        jnp.ones(10),
        jnp.zeros((), jnp.int32),
        jnp.array(1000, jnp.int32),
    )
    batch = Batch(
        image=jax.random.normal(key, (batch_size, 32, 32, 3)),
        label=jnp.arange(batch_size, dtype=jnp.int32) % 10,
        weight=jnp.ones(batch_size),
        task=jnp.zeros(batch_size, jnp.int32),
        is_replay=jnp.zeros(batch_size, bool),
    )
    step = jax.jit(make_step(built.network, built.method, built.optimizer, built.loss), donate_argnums=0)
    holder = [state]

    def run(steps: int) -> None:
        for _ in range(steps):
            holder[0], _ = step(holder[0], batch, key)
        jax.block_until_ready(holder[0])

    return run
