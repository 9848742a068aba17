"""Training steps compared with each other and with the peak rates of the device."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import AGAIN, BenchmarkResult, Run, alternate, load, medians, medians_of_ratios, surroundings
from benchmarks.work import Work, bench_recipe, lifequant, step_work
from lifeq_jax.core.config import Part, Recipe
from lifeq_jax.layers import convolution, depthwise
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.train.build import complete

COPIED = 2**26  # float32 values of the copy that measures bandwidth; larger than any cache
SIDE = 4096  # of the square matrices whose product measures the rate of operations


def bench_step(model: str, batch_size: int, bits: int, precision: str, repeats: int, steps: int) -> BenchmarkResult:
    """The training step of a model on 32x32 images: float, four systems, and float again as a control.

    LifeQuant, ClimbQ and LSQ with freezing at `bits` bits; BLIP in float, since it rounds weights only between
    tasks. `precision` is that of a recipe."""
    what = f"training step, {model}, 32x32, {precision}"
    return compare(what, systems(model, batch_size, bits, precision), repeats, steps)


def systems(model: str, batch_size: int, bits: int, precision: str) -> dict[str, Recipe]:
    """The recipes that `bench_step` compares."""
    climbq = {"weight_quantizer": Part("cdf"), "act_quantizer": Part("cdf_activation"), "loss": Part("homovar")}
    floating = bench_recipe(model, batch_size, 32)
    compared = {
        "float": floating,
        f"LifeQuant {bits}-bit": lifequant(model, batch_size, bits),
        f"ClimbQ {bits}-bit": bench_recipe(model, batch_size, bits, **climbq),
        f"LSQ {bits}-bit, freezing": lsq(model, batch_size, bits, oscillation=Part("freeze")),
        "BLIP": bench_recipe(model, batch_size, 32, method=Part("blip")),
        "float" + AGAIN: floating,
    }
    return {name: recipe.replace({"precision": precision}) for name, recipe in compared.items()}


def lsq(model: str, batch_size: int, bits: int, **parts: Any) -> Recipe:
    """`bench_recipe` with LSQ, its quantizers where its paper puts them."""
    quantizers: dict[str, Any] = {key: Part("lsq") for key in ("weight_quantizer", "act_quantizer")}
    return bench_recipe(model, batch_size, bits, quant_setup="LSQ_paper", **quantizers, **parts)


def bench_gradients(model: str, batch_size: int, repeats: int, steps: int) -> BenchmarkResult:
    """The float training step of a model on 32x32 images as it is on a CPU, without the package's own gradients of
    depthwise layers, without those of the other convolutions' kernels, and as it is again as a control.

    Depthwise layers are differentiated by JAX as the same sum of shifted products, the others as XLA's
    convolution. On other backends all rows are the same."""
    recipe = complete(bench_recipe(model, batch_size, 32))
    plain = partial(lax.conv_general_dilated, dimension_numbers=convolution.LAYOUT)
    works = {"ours": step_work(recipe)}
    with patch.object(depthwise, "_depthwise", depthwise._sum_of_products):
        works["depthwise layers by JAX"] = step_work(recipe)
    with patch.object(convolution, "_convolution", plain):
        works["other convolutions by JAX"] = step_work(recipe)
    works["ours" + AGAIN] = step_work(recipe)
    return compare_works(f"gradients of convolutions, {model}, 32x32", batch_size, works, repeats, steps)


def bench_oscillation(recipe: Recipe, repeats: int, steps: int) -> BenchmarkResult:
    """The training step of a recipe's last stage with every row of OSCILLATIONS, and again with none as a control.

    Rows other than the recipe's own have default arguments."""

    def with_row(name: str) -> Recipe:
        own = recipe.oscillation
        return dataclasses.replace(recipe, oscillation=own if own.name == name else Part(name))

    others = {name: with_row(name) for name in OSCILLATIONS if name != "none"}
    variants = {"none": with_row("none"), **others, "none" + AGAIN: with_row("none")}
    last = recipe.stages[-1]
    bits = f"{last.weight_bits}/{last.act_bits} bits"
    return compare(f"training step, {recipe.model.name}, {bits}, {recipe.data.crop}", variants, repeats, steps)


def compare(what: str, variants: Mapping[str, Recipe], repeats: int, steps: int) -> BenchmarkResult:
    """`compare_works` of the training steps of each recipe's last stage; all recipes have the same batch size."""
    batch_size = next(iter(variants.values())).data.batch_size
    works = {name: step_work(complete(recipe)) for name, recipe in variants.items()}
    return compare_works(what, batch_size, works, repeats, steps)


def compare_works(what: str, batch_size: int, works: Mapping[str, Work], repeats: int, steps: int) -> BenchmarkResult:
    """Images per second of training steps of `batch_size` images, and the share of the device's peak rates that they
    reach.

    Each repeat runs `steps` steps of every variant in turn, then one large copy and one large product. The result has
    the median rate, and medians over repeats of: the ratio of a variant's time to the first's, the same ratio of
    processor time, and the shares of the copy's and the product's rates. The control's ratio shows how far noise alone
    moves a ratio from 1."""
    names = list(works)
    ceilings = {"copy": _copy(), "product": _product()}
    before = load()
    runs = {name: work.run for name, work in {**works, **ceilings}.items()}
    times, processor = alternate(runs, repeats, steps)
    own, own_processor = ({name: found[name] for name in names} for found in (times, processor))

    def share(name: str, ceiling: str, part: str) -> float:
        amounts = getattr(works[name], part) / getattr(ceilings[ceiling], part)
        return amounts * statistics.median(b / a for a, b in zip(times[name], times[ceiling], strict=True))

    def rate(ceiling: str, part: str) -> float:
        return getattr(ceilings[ceiling], part) / statistics.median(times[ceiling]) / 1e9

    return BenchmarkResult(
        what,
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_each": steps},
        {
            "images_per_second": {name: batch_size / seconds for name, seconds in medians(own).items()},
            f"time_ratio_to_{names[0]}": medians_of_ratios(own, names[0]),
            f"processor_ratio_to_{names[0]}": medians_of_ratios(own_processor, names[0]),
            "processor_seconds_per_step": medians(own_processor),
            "gigaoperations_per_step": {name: work.operations / 1e9 for name, work in works.items()},
            "gigabytes_per_step": {name: work.bytes / 1e9 for name, work in works.items()},
            "gigabytes_of_temporaries": {name: work.temporaries / 1e9 for name, work in works.items()},
            "share_of_product": {name: share(name, "product", "operations") for name in names},
            "share_of_copy": {name: share(name, "copy", "bytes") for name in names},
        },
        {
            "copy_gigabytes_per_second": rate("copy", "bytes"),
            "product_gigaoperations_per_second": rate("product", "operations"),
        },
        surroundings(before),
    )


def _timed(function: Callable[..., jax.Array], *arguments: jax.Array) -> Run:
    compiled = jax.jit(function)

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(compiled(*arguments))

    return run


def _copy() -> Work:
    values = jnp.ones(COPIED)
    return Work(_timed(lambda x: x + 1, values), 0, 2 * values.nbytes, 0)


def _product() -> Work:
    matrix = jnp.ones((SIDE, SIDE))
    return Work(_timed(jnp.matmul, matrix, matrix), 2 * SIDE**3, 3 * matrix.nbytes, 0)
