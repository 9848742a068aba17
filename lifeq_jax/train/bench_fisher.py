"""What the exact Fisher information costs, as a ratio to training within one run."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.types import Batch
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.importance import FISHERS, Probe, estimator
from lifeq_jax.train.bench import BenchResult
from lifeq_jax.train.build import Built, build_stage, complete
from lifeq_jax.train.run_folder import commit, machine
from lifeq_jax.train.step import TrainState, make_step

NETWORKS: dict[str, tuple[Part, int]] = {  # BLIP's networks in its widths, and the side of their images
    "alexnet_32": (Part("alexnet_32", {"mul": 2.0}), 32),
    "resnet18_84": (Part("resnet18_84", {"mul": 1.5}), 84),
}
CLASSES = 100
BASE, CONTROL = "training step", "training step again"

Runner = Callable[[int], Any]  # number of batches -> the last arrays that they lead to


def bench_fisher(models: Sequence[str], batch_size: int, repeats: int, steps: int) -> BenchResult:
    """The time an example takes in the exact Fisher information (FISHERS["sampled"], float network) relative to a float
    training step of the same batch size, for each of `models` (NETWORKS), and of the training step again as a control.

    The numbers are by model; in each repeat the variants take turns."""
    found = {name: _compare(name, batch_size, repeats, steps) for name in models}
    text = "\n".join(result.text for result in found.values())
    return BenchResult({name: result.numbers for name, result in found.items()}, text)


def _compare(name: str, batch_size: int, repeats: int, steps: int) -> BenchResult:
    part, side = lookup(NETWORKS, name, "model")
    recipe = Recipe(
        name="bench",
        data=Data(
            "", "", 1, CLASSES, (side, side, 3), (side, side), 0, True, (0.5,) * 3, (0.5,) * 3, batch_size=batch_size
        ),
        model=part,
        stages=(Stage("bench", 32, 32, 1, 0.01),),
    )
    built, batch = build_stage(complete(recipe), recipe.stages[0]), _batch(side, batch_size)
    step = _training(built, batch)
    runners = {BASE: step, "Fisher": _fisher(built, batch), CONTROL: step}
    for run in runners.values():
        jax.block_until_ready(run(1))
    times: dict[str, list[float]] = {variant: [] for variant in runners}
    load = os.getloadavg()[0]
    for _ in range(repeats):
        for variant, run in runners.items():
            start = time.perf_counter()
            jax.block_until_ready(run(steps))
            times[variant].append((time.perf_counter() - start) / steps)
    ratios = {
        variant: statistics.median(ours / base for ours, base in zip(values, times[BASE], strict=True))
        for variant, values in times.items()
    }
    rates = {variant: batch_size / statistics.median(values) for variant, values in times.items()}
    numbers = {
        "what": f"exact Fisher information, {name}, {part.args}, {side}x{side}, 32 bits",
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {variant: round(rate, 1) for variant, rate in rates.items()},
        "time_ratio_to_training_step": {variant: round(ratio, 3) for variant, ratio in ratios.items()},
        "load_before": round(load, 2),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }
    head = f"{numbers['what']}, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    lines = [
        f"{variant:{len(CONTROL)}s} {rates[variant]:9.1f} images/s   time ratio to {BASE} {ratios[variant]:.3f}"
        for variant in runners
    ]
    return BenchResult(numbers, "\n".join([head, *lines, f"load before the run: {load:.2f}; {numbers['machine']}"]))


def _batch(side: int, size: int) -> Batch:
    return Batch(
        image=jax.random.normal(key_for(0), (size, side, side, 3)),
        label=jnp.arange(size, dtype=jnp.int32) % CLASSES,
        weight=jnp.ones(size),
        task=jnp.zeros(size, jnp.int32),
        is_replay=jnp.zeros(size, bool),
    )


def _training(built: Built, batch: Batch) -> Runner:
    params, batch_stats = built.network.init(0)
    state = TrainState(
        params,
        batch_stats,
        built.optimizer.init(params),
        built.method.init(params),
        jnp.ones(CLASSES),
        jnp.zeros((), jnp.int32),
        jnp.array(1000, jnp.int32),
        jnp.ones(()),
    )
    step = jax.jit(make_step(built.network, built.method, built.optimizer, built.loss), donate_argnums=0)
    holder = [state]

    def run(steps: int) -> TrainState:
        for _ in range(steps):
            holder[0], _ = step(holder[0], batch, key_for(0))
        return holder[0]

    return run


def _fisher(built: Built, batch: Batch) -> Runner:
    params, batch_stats = built.network.init(0)
    apply, squares = (
        Partial(function, batch_stats=batch_stats) for function in (built.network.evaluate, built.network.squares)
    )
    probe = Probe(apply, Partial(built.network.head), params, jnp.ones(CLASSES), jnp.ones(()), squares)
    estimate = estimator(FISHERS["sampled"](LOSSES["cross_entropy"]()))
    return lambda steps: estimate(probe, [batch] * steps, key_for(0))
