"""The overhead of a whole resident epoch over its training steps, and of more seeds over one."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    Run,
    alternate,
    check_counts,
    columns_of,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from benchmarks.work import bench_recipe, first_state, lifequant, on_noise, random_batch, step_work
from lifeq_jax.core.config import Recipe
from lifeq_jax.runs.write import RunFiles
from lifeq_jax.train.abreast import make_abreast
from lifeq_jax.train.build import complete
from lifeq_jax.train.loop import EpochResult, Place
from lifeq_jax.train.run import unwatched
from lifeq_jax.train.selection import copied
from lifeq_jax.train.stage import Compiled, Epoch, Seed, compile_stage
from lifeq_jax.train.step import TrainState
from lifeq_jax.train.world import make_world, read_source

MODELS = ("resnet20", "mlp")
EPOCH, STEPS = "epoch", "steps"
SHARE_GOAL = 0.95  # of the step rate, on an accelerator
SEEDS, SEEDS_GOAL = 5, 1.5  # goal: SEEDS seeds in at most SEEDS_GOAL times the time of one, on an accelerator

Compute = Callable[[Sequence[Epoch]], list[tuple[TrainState, EpochResult]]]  # answers the requests of several seeds


def bench_epoch(model: str | None, batch_size: int, bits: int, repeats: int, steps: int) -> BenchmarkResult:
    """Images per second of whole resident epochs of `steps` batches, relative to the training step alone.

    For `model` (None: each of MODELS), in float and LifeQuant at `bits` bits, on generated 32x32 images. An epoch does
    all that training does: plan, feeds, assembly, steps, and one read of the sums. The step alone repeats one batch on
    the device; the control measures it again. The variants of a row take turns. Refuses numbers below 1."""
    check_counts(repeats=repeats, steps=steps)
    recipes = {
        f"{one}, {name}": complete(recipe)
        for one in ([model] if model else MODELS)
        for name, recipe in (
            ("float", bench_recipe(one, batch_size, 32)),
            (f"LifeQuant {bits}-bit", lifequant(one, batch_size, bits)),
        )
    }
    before = load()
    found = {name: _epoch_beside_steps(recipe, repeats, steps) for name, recipe in recipes.items()}
    return BenchmarkResult(
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

    stage, seeds = ready(recipe, 1, steps)
    runs = {STEPS: passes, EPOCH: epochs(stage, seeds, one_by_one), STEPS + AGAIN: passes}
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


def bench_seeds(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> BenchmarkResult:
    """The time of a resident epoch of LifeQuant for SEEDS seeds under vmap, relative to one seed's.

    On a CPU training does not use vmap for seeds (`vmap_is_faster`); this measures it there too."""
    check_counts(repeats=repeats, steps=steps)
    stage, seeds = ready(complete(lifequant(model, batch_size, bits)), SEEDS, steps)
    one, many = "1 seed", f"{SEEDS} seeds"
    before = load()
    single = epochs(stage, seeds[:1], one_by_one)
    abreast = epochs(stage, seeds, make_abreast(stage, [seed.world for seed in seeds]).train)
    times, _ = alternate({one: single, many: abreast, one + AGAIN: single}, repeats, 1)
    images = {name: batch_size * steps * (SEEDS if name == many else 1) for name in times}
    return BenchmarkResult(
        f"resident training epoch, {model}, LifeQuant {bits}-bit, 32x32",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_an_epoch": steps},
        {
            "images_per_second": {name: images[name] / seconds for name, seconds in medians(times).items()},
            "time_ratio_to_1_seed": medians_of_ratios(times, one),
        },
        {f"goal_of_the_ratio_of_{SEEDS}_seeds_on_an_accelerator": SEEDS_GOAL},
        surroundings(before),
    )


def ready(recipe: Recipe, number: int, steps: int) -> tuple[Compiled, list[Seed]]:
    """The recipe's stage, and `number` seeds whose epochs have `steps` steps."""
    with on_noise(recipe, steps) as fed:
        source = read_source(fed)
        recipes = [dataclasses.replace(fed, seed=seed) for seed in range(number)]
        worlds = [make_world(one, source) for one in recipes]
    nowhere, files = Path(), RunFiles(Path(), {}, writes=False)
    seeds = [Seed(one, world, nowhere, files, print, unwatched) for one, world in zip(recipes, worlds, strict=True)]
    return compile_stage(recipe, 0, worlds[0]), seeds


def one_by_one(asks: Sequence[Epoch]) -> list[tuple[TrainState, EpochResult]]:
    """Computes each epoch separately."""
    return [ask.compute() for ask in asks]


def epochs(stage: Compiled, seeds: Sequence[Seed], compute: Compute) -> Run:
    """Consecutive epochs of all seeds, computed by `compute`; all seeds start from the same state."""
    data = seeds[0].recipe.data
    state = first_state(stage.built, random_batch(data), data.num_classes)
    states = [copied(state) for _ in seeds]

    def run(number: int) -> None:
        for epoch in range(number):
            asks = [
                Epoch(stage, seed, state, Place(seed.recipe.seed, 0, 0, epoch))
                for seed, state in zip(seeds, states, strict=True)
            ]
            states[:] = [state for state, _ in compute(asks)]
        jax.block_until_ready(states)

    return run
