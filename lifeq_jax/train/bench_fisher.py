"""What the exact Fisher information costs, as a ratio to training within one run."""

import os
import statistics
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.lookup import lookup
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.importance import FISHERS, Probe, estimator
from lifeq_jax.train.bench import (
    BenchResult,
    Run,
    alternate,
    closing,
    medians_of_ratios,
    random_batch,
    step_work,
    surroundings,
)
from lifeq_jax.train.build import build_stage, complete

NETWORKS: dict[str, tuple[Part, int]] = {  # BLIP's networks in its widths, and the side of their images
    "alexnet_32": (Part("alexnet_32", {"mul": 2.0}), 32),
    "resnet18_84": (Part("resnet18_84", {"mul": 1.5}), 84),
}
CLASSES = 100
BASE, CONTROL = "training step", "training step again"


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
    recipe = complete(recipe)
    runs = {BASE: step_work(recipe).run, "Fisher": _fisher(recipe)}
    runs[CONTROL] = runs[BASE]
    load = os.getloadavg()[0]
    times, _ = alternate(runs, repeats, steps)
    ratios = medians_of_ratios(times, BASE)
    rates = {variant: batch_size / statistics.median(values) for variant, values in times.items()}
    numbers = {
        "what": f"exact Fisher information, {name}, {part.args}, {side}x{side}, 32 bits",
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {variant: round(rate, 1) for variant, rate in rates.items()},
        "time_ratio_to_training_step": {variant: round(ratio, 3) for variant, ratio in ratios.items()},
        **surroundings(load),
    }
    head = f"{numbers['what']}, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    lines = [
        f"{variant:{len(CONTROL)}s} {rates[variant]:9.1f} images/s   time ratio to {BASE} {ratios[variant]:.3f}"
        for variant in runs
    ]
    return BenchResult(numbers, "\n".join([head, *lines, closing(numbers)]))


def _fisher(recipe: Recipe) -> Run:
    built, batch = build_stage(recipe, recipe.stages[-1]), random_batch(recipe.data)
    params, batch_stats = built.network.init(0)
    apply, squares = (
        Partial(function, batch_stats=batch_stats) for function in (built.network.evaluate, built.network.squares)
    )
    probe = Probe(apply, Partial(built.network.head), params, jnp.ones(CLASSES), jnp.ones(()), squares)
    estimate = estimator(FISHERS["sampled"](LOSSES["cross_entropy"]()))

    def run(steps: int) -> None:
        jax.block_until_ready(estimate(probe, [batch] * steps, key_for(0)))

    return run
