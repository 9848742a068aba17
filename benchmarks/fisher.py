"""The cost of the exact Fisher information relative to training, measured within one run."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    Run,
    alternate,
    columns_of,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from benchmarks.work import random_batch, step_work
from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.lookup import lookup
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.importance import FISHERS, Probe, estimator
from lifeq_jax.train.build import build_stage, complete

NETWORKS: dict[str, tuple[Part, int]] = {  # BLIP's networks in its widths, and the side of their images
    "alexnet_32": (Part("alexnet_32", {"mul": 2.0}), 32),
    "resnet18_84": (Part("resnet18_84", {"mul": 1.5}), 84),
}
CLASSES = 100
STEP, FISHER = "training step", "Fisher"


def bench_fisher(model: str | None, batch_size: int, repeats: int, steps: int) -> BenchmarkResult:
    """The time per example of the exact Fisher information relative to a float training step of the same batch size.

    For FISHERS["sampled"] on a float network, a row of NETWORKS (None: each). The control is the training step again.
    The variants of a network take turns."""
    before = load()
    recipes = {name: complete(_recipe(name, batch_size)) for name in ([model] if model else NETWORKS)}
    found = {_told(name): _beside_step(recipe, repeats, steps) for name, recipe in recipes.items()}
    return BenchmarkResult(
        "exact Fisher information, 32 bits",
        {"batch_size": batch_size, "alternating_repeats": repeats, "batches_of_each": steps},
        columns_of(found),
        {},
        surroundings(before),
    )


def _recipe(name: str, batch_size: int) -> Recipe:
    part, side = lookup(NETWORKS, name, "model")
    size = (side, side)
    return Recipe(
        name="bench",
        data=Data("", "", 1, CLASSES, (*size, 3), size, 0, True, (0.5,) * 3, (0.5,) * 3, batch_size=batch_size),
        model=part,
        stages=(Stage("bench", 32, 32, 1, 0.01),),
    )


def _told(name: str) -> str:
    part, side = NETWORKS[name]
    return f"{name}, {part.args}, {side}x{side}"


def _beside_step(recipe: Recipe, repeats: int, steps: int) -> dict[str, float]:
    runs = {STEP: step_work(recipe).run, FISHER: _fisher(recipe)}
    runs[STEP + AGAIN] = runs[STEP]
    times, processor = alternate(runs, repeats, steps)
    rates = {name: recipe.data.batch_size / seconds for name, seconds in medians(times).items()}
    ratios, by_processor = medians_of_ratios(times, STEP), medians_of_ratios(processor, STEP)
    return {
        "images_per_second_of_training": rates[STEP],
        "images_per_second": rates[FISHER],
        "time_ratio_to_training_step": ratios[FISHER],
        "ratio_by_processor_time": by_processor[FISHER],
        "control": ratios[STEP + AGAIN],
        "control_by_processor_time": by_processor[STEP + AGAIN],
    }


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
