"""How fast the two inputs deliver batches, alone and to a training step."""

import importlib.util
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from lifeq_jax.bench.timing import AGAIN, Measured, Run, alternate, load, medians, medians_of_ratios, surroundings
from lifeq_jax.bench.work import first_state, lifequant, random_batch
from lifeq_jax.core.config import Data, Recipe
from lifeq_jax.data.inputs import Feed, Input
from lifeq_jax.data.order import ImageSpec, train_plan
from lifeq_jax.data.pipeline import pipeline
from lifeq_jax.data.resident import resident
from lifeq_jax.data.tables import Catalog, Rows, catalog, rows_of, table_of
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.loop import advance_of, make_advance
from lifeq_jax.train.mesh import Devices
from lifeq_jax.train.step import make_step, zero_totals

INPUTS: dict[str, Callable[[Path, Catalog, ImageSpec], Input]] = {"resident": resident, "tf.data": pipeline}
FED, READY = "feeding steps", "with feeds at hand"


def bench_input(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Measured:
    """Images per second of each input alone and of LifeQuant's training step that it feeds, on generated JPEG files.

    Waiting: the share of a fed step's time that a step with its feed at hand does not take. `steps` batches are one
    pass over the files. Without TensorFlow only the resident input is measured."""
    recipe = complete(lifequant(model, batch_size, bits))
    spec = spec_of(recipe.data)
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    names = [name for name in INPUTS if name != "tf.data" or has_tensorflow]
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        known, rows = generate(Path(folder), batch_size * steps)
        plan = train_plan(len(rows.index), batch_size, spec, seed=0, stage=0, task=0, epoch=0)
        runs: dict[str, Run] = {}
        for name in names:
            source = INPUTS[name](Path(folder), known, spec)
            runs |= _runs(name, source, partial(source.feeds, rows, plan, 0), recipe)
        base = f"{names[0]} {READY}"
        runs[base + AGAIN] = runs[base]
        times, _ = alternate(runs, repeats, 1)
    fed = {f"{name} {FED}": f"{name} {READY}" for name in names}
    return Measured(
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


def spec_of(data: Data) -> ImageSpec:
    """How a bench's images are cut and normalized."""
    return ImageSpec(data.image, data.pad, data.crop, data.mean, data.std, data.flip)


def generate(folder: Path, number: int) -> tuple[Catalog, Rows]:
    """Writes so many JPEG files of noise, 32x32, and lists them with labels in turn."""
    random = np.random.default_rng(0)
    paths = [f"{index:06d}.jpg" for index in range(number)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / path)
    table = table_of(paths, [index % 10 for index in range(number)])
    known = catalog([table])
    return known, rows_of(known, table, 0, False)


def _runs(name: str, source: Input, feeds: Callable[[], Iterable[Feed]], recipe: Recipe) -> dict[str, Run]:
    """One pass over the images each: batches alone, steps fed by the input, and steps whose feeds were made before."""
    built = build_stage(recipe, recipe.stages[0])
    assemble = jax.jit(source.assemble)
    step = make_step(built.network, built.method, built.optimizer, built.loss)
    advance = make_advance(advance_of(step, source), Devices())
    state = first_state(built, random_batch(recipe.data), recipe.data.num_classes)
    holder, place, ready = [(state, zero_totals())], np.zeros(3, np.int32), list(feeds())

    def alone(passes: int) -> None:
        for _ in range(passes):
            for feed in feeds():
                batch = assemble(source.constants, feed)
            jax.block_until_ready(batch)

    def train(passes: int, feeds: Callable[[], Iterable[Feed]]) -> None:
        for _ in range(passes):
            for feed in feeds():
                piece = jax.tree.map(lambda part: part[None], feed)
                holder[0] = advance(*holder[0], source.constants, piece, np.int32(1), place)
            jax.block_until_ready(holder[0])

    return {
        f"{name} alone": alone,
        f"{name} {FED}": partial(train, feeds=feeds),
        f"{name} {READY}": partial(train, feeds=lambda: ready),
    }
