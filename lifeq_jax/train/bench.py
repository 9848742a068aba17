"""Speed, as ratios within one run: variants take turns, so a change in the machine's load meets all of them."""

import dataclasses
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import generator_for, key_for
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.train.build import Built, build_stage, complete
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.run_folder import commit, machine
from lifeq_jax.train.step import TrainState, make_step

STEPS_OF_TASK = 1000  # what a schedule sees
COPIED = 2**26  # float32 values of the copy that measures bandwidth: no cache holds them
SIDE = 4096  # of the square matrices whose product measures the rate of operations

Run = Callable[[int], None]


class BenchResult(NamedTuple):
    """Numbers for a file, and the same as text."""

    numbers: dict[str, Any]
    text: str


class Work(NamedTuple):
    """Something to time: `run(n)` does it n times and waits for the end."""

    run: Run
    operations: float  # of one time: multiplications and additions of products and convolutions
    bytes: float  # of one time, read and written


def bench_recipe(model: str, batch_size: int, bits: int, **parts: Any) -> Recipe:
    """A recipe of one stage for images of 32x32 pixels and 10 classes, without any data."""
    return Recipe(
        name="bench",
        data=Data("", "", 1, 10, (32, 32, 3), (32, 32), 4, True, (0.5,) * 3, (0.5,) * 3, batch_size=batch_size),
        model=Part(model),
        stages=(Stage("bench", bits, bits, 1, 0.01),),
        **parts,
    )


def bench_step(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> BenchResult:
    """The training step of a model on 32x32 images: float, three ways to `bits` bits, and float again as a control."""
    quantizers = {key: Part("lsq") for key in ("weight_quantizer", "act_quantizer")}
    lsq: dict[str, Any] = {**quantizers, "quant_setup": "LSQ_paper", "oscillation": Part("freeze")}
    climbq = {"weight_quantizer": Part("cdf"), "act_quantizer": Part("cdf_activation"), "loss": Part("homovar")}
    floating = bench_recipe(model, batch_size, 32)
    variants = {
        "float": floating,
        f"LifeQuant {bits}-bit": bench_recipe(model, batch_size, bits),
        f"ClimbQ {bits}-bit": bench_recipe(model, batch_size, bits, **climbq),
        f"LSQ {bits}-bit, freezing": bench_recipe(model, batch_size, bits, **lsq),
        "float again": floating,
    }
    return compare(f"training step, {model}, 32x32", variants, repeats, steps)


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
    """Images per second of the last stage of each recipe, and how near they come to what the device can do. Their batch
    sizes are equal.

    Each repeat runs `steps` steps of every variant in turn, then one large copy and one large product. Reported: the
    median rate, and the medians over repeats of the ratio of a variant's time to the first's, of processor time
    likewise, and of the shares of copy and product. A control's ratio says how far from 1 noise alone leads."""
    names = list(variants)
    batch_size = variants[names[0]].data.batch_size
    works = {name: step_work(complete(recipe)) for name, recipe in variants.items()}
    ceilings = {"copy": _copy(), "product": _product()}
    load = os.getloadavg()[0]
    runs = {name: work.run for name, work in {**works, **ceilings}.items()}
    times, processor = alternate(runs, repeats, steps)
    ratios, work_ratios = medians_of_ratios(times, names[0]), medians_of_ratios(processor, names[0])
    rates = {name: batch_size / statistics.median(times[name]) for name in names}
    copied, multiplied = (
        statistics.median(amount / seconds for seconds in times[name])
        for name, amount in (("copy", ceilings["copy"].bytes), ("product", ceilings["product"].operations))
    )

    def share(name: str, ceiling: str, part: str) -> float:
        amounts = getattr(works[name], part) / getattr(ceilings[ceiling], part)
        return amounts * statistics.median(b / a for a, b in zip(times[name], times[ceiling], strict=True))

    shares = {name: (share(name, "product", "operations"), share(name, "copy", "bytes")) for name in names}
    numbers = {
        "what": what,
        "batch_size": batch_size,
        "repeats": repeats,
        "steps": steps,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        f"time_ratio_to_{names[0]}": {name: round(ratios[name], 3) for name in names},
        f"processor_ratio_to_{names[0]}": {name: round(work_ratios[name], 3) for name in names},
        "processor_seconds_per_step": {name: round(statistics.median(processor[name]), 4) for name in names},
        "gigaoperations_per_step": {name: round(work.operations / 1e9, 2) for name, work in works.items()},
        "gigabytes_per_step": {name: round(work.bytes / 1e9, 2) for name, work in works.items()},
        "copy_gigabytes_per_second": round(copied / 1e9, 1),
        "product_gigaoperations_per_second": round(multiplied / 1e9, 1),
        "share_of_product": {name: round(pair[0], 3) for name, pair in shares.items()},
        "share_of_copy": {name: round(pair[1], 3) for name, pair in shares.items()},
        **surroundings(load),
    }
    width = max(map(len, names))
    lines = [
        f"{name:{width}s} {rates[name]:9.1f} images/s   time ratio to {names[0]} {ratios[name]:.3f} "
        f"(processor time {work_ratios[name]:.3f})   "
        f"{work.operations / 1e9:.1f} Gop, {work.bytes / 1e9:.2f} GB a step: "
        f"{100 * shares[name][0]:.0f} % of the product's rate, {100 * shares[name][1]:.0f} % of the copy's"
        for name, work in works.items()
    ]
    head = f"{what}, batch {batch_size}, medians of {repeats} alternating repeats of {steps} steps"
    ceiling = f"ceilings: copy {copied / 1e9:.1f} GB/s, float32 product {multiplied / 1e9:.1f} Gop/s"
    return BenchResult(numbers, "\n".join([head, *lines, ceiling, closing(numbers)]))


def alternate(runs: Mapping[str, Run], repeats: int, steps: int) -> tuple[dict[str, list[float]], ...]:
    """Seconds of one time of each run, `repeats` values each: after two unmeasured, `steps` times of every run in turn.

    Returns the seconds that passed, and the processor seconds of all threads, which other work on the machine hardly
    changes. Refuses numbers below 1."""
    check_counts(repeats=repeats, steps=steps)
    for run in runs.values():
        run(2)
    clocks = (time.perf_counter, time.process_time)
    found: tuple[dict[str, list[float]], ...] = tuple({name: [] for name in runs} for _ in clocks)
    for _ in range(repeats):
        for name, run in runs.items():
            start = [clock() for clock in clocks]
            run(steps)
            for times, clock, before in zip(found, clocks, start, strict=True):
                times[name].append((clock() - before) / steps)
    return found


def check_counts(**counts: int) -> None:
    """Refuses what is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise Refusal(f"{name}={count} is out of range; choose 1 or more")


def medians_of_ratios(times: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """The median over repeats of the ratio of each time to that of `base` in the same repeat."""
    return {
        name: statistics.median(ours / other for ours, other in zip(values, times[base], strict=True))
        for name, values in times.items()
    }


def surroundings(load: float) -> dict[str, Any]:
    """Where and of what a number was measured; load: the machine's one-minute load before."""
    return {
        "load_before": round(load, 2),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }


def closing(numbers: Mapping[str, Any]) -> str:
    """The last line of a result's text."""
    return f"load before the run: {numbers['load_before']:.2f}; {numbers['machine']}"


def random_batch(data: Data) -> Batch:
    """A batch of noise with labels in turn."""
    size = data.batch_size
    noise = generator_for(0).standard_normal((size, *data.crop, data.image[2]), np.float32)
    return Batch(
        image=jnp.asarray(noise),
        label=jnp.arange(size, dtype=jnp.int32) % data.num_classes,
        weight=jnp.ones(size),
        task=jnp.zeros(size, jnp.int32),
        is_replay=jnp.zeros(size, bool),
    )


def first_state(built: Built, batch: Batch, num_classes: int) -> TrainState:
    """The state of a stage before its first step, quantizers calibrated on `batch`."""
    params, batch_stats = built.network.init(0)
    params = calibrate(built.network.observe_ranges, params, batch_stats, [batch.image])
    return TrainState(
        params,
        batch_stats,
        built.optimizer.init(params),
        built.method.init(params),
        jnp.ones(num_classes),
        jnp.zeros((), jnp.int32),
        jnp.array(STEPS_OF_TASK, jnp.int32),
        jnp.ones(()),
    )


def step_work(recipe: Recipe) -> Work:
    """The training step of a completed recipe's last stage, compiled, on one batch that stays on the device."""
    built = build_stage(recipe, recipe.stages[-1])
    key, batch = key_for(0), random_batch(recipe.data)
    state = first_state(built, batch, recipe.data.num_classes)
    step = make_step(built.network, built.method, built.optimizer, built.loss)
    traced = jax.jit(step, donate_argnums=0).trace(state, batch, key)
    compiled = traced.lower().compile()
    holder = [state]

    def run(steps: int) -> None:
        for _ in range(steps):
            holder[0], _ = compiled(holder[0], batch, key)
        jax.block_until_ready(holder[0])

    return Work(run, operations(traced.jaxpr), _cost(compiled)["bytes accessed"])


def _cost(compiled: Any) -> dict[str, float]:
    return compiled.cost_analysis()


def operations(jaxpr: Any) -> int:
    """Multiplications and additions of the matrix products and convolutions of a jaxpr, loops with their lengths.

    XLA's own count of a compiled step has the body of a loop once."""
    total = 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        parts = [part for part in jax.tree.leaves(list(equation.params.values())) if hasattr(part, "jaxpr")]
        total += equation.params.get("length", 1) * sum(map(operations, parts))
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            left, right = (variable.aval.shape for variable in equation.invars)
            if equation.primitive.name == "dot_general":
                summed = math.prod(left[axis] for axis in equation.params["dimension_numbers"][0][0])
            else:
                summed = math.prod(right) // right[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * summed * equation.outvars[0].aval.size
    return total


def _timed(function: Callable[..., jax.Array], *arguments: jax.Array) -> Run:
    compiled = jax.jit(function)

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(compiled(*arguments))

    return run


def _copy() -> Work:
    values = jnp.ones(COPIED)
    return Work(_timed(lambda x: x + 1, values), 0, 2 * values.nbytes)


def _product() -> Work:
    matrix = jnp.ones((SIDE, SIDE))
    return Work(_timed(jnp.matmul, matrix, matrix), 2 * SIDE**3, 3 * matrix.nbytes)
