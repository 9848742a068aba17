"""The work that is timed: training steps of networks for small images, on generated data."""

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.timing import Run
from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import generator_for, key_for
from lifeq_jax.core.types import Batch
from lifeq_jax.data.lifelong import write_sequence
from lifeq_jax.data.tables import table_of
from lifeq_jax.methods.base import StageStart
from lifeq_jax.train.build import Built, build_stage
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.stage import step_of
from lifeq_jax.train.step import TrainState, fresh_state

STEPS_OF_TASK = 1000  # of the schedule


class Work(NamedTuple):
    """Something to time: `run(n)` does it n times and waits for the end."""

    run: Run
    operations: float  # per execution: multiplications and additions of products and convolutions
    bytes: float  # read and written per execution
    temporaries: float  # bytes, of all intermediate values at once


def bench_recipe(model: str, batch_size: int, bits: int, **parts: Any) -> Recipe:
    """A recipe of one stage for 32x32 images of 10 classes, without data."""
    given: dict[str, Any] = dict(batch_size=batch_size, replay=False, input="resident")
    return Recipe(
        name="bench",
        data=Data("", "", 1, 10, (32, 32, 3), (32, 32), 4, True, (0.5,) * 3, (0.5,) * 3, **given),
        model=Part(model),
        stages=(Stage("bench", bits, bits, 1, 0.01),),
        **parts,
    )


def lifequant(model: str, batch_size: int, bits: int) -> Recipe:
    """`bench_recipe` with LifeQuant's quantizers, loss and penalty."""
    return bench_recipe(model, batch_size, bits, loss=Part("ball_log_prior"), method=Part("lifequant"))


@contextmanager
def on_noise(recipe: Recipe, batches: int) -> Iterator[Recipe]:
    """`recipe` with data for an epoch of `batches` batches: JPEG files of noise with cyclic labels, deleted
    afterwards."""
    data, random = recipe.data, generator_for(0)
    paths = [f"{index:06d}.jpg" for index in range(data.batch_size * batches)]
    table = table_of(paths, [index % data.num_classes for index in range(len(paths))])
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            Image.fromarray(random.integers(0, 256, data.image, np.uint8)).save(Path(folder, path))
        csv = Path(folder, "noise")
        write_sequence(csv, {"train": [table], "test": [table]})
        yield dataclasses.replace(recipe, data=dataclasses.replace(data, root=folder, csv=str(csv)))


def random_batch(data: Data) -> Batch:
    """A batch of noise with cyclic labels."""
    size = data.batch_size
    noise = generator_for(0).standard_normal((size, *data.crop, data.image[2]), np.float32)
    return Batch(
        image=jnp.asarray(noise),
        label=jnp.arange(size, dtype=jnp.int32) % data.num_classes,
        weight=jnp.ones(size),
        task=jnp.zeros(size, jnp.int32),
        is_replay=jnp.zeros(size, bool),
        index=jnp.arange(size, dtype=jnp.int32),
    )


def first_state(built: Built, batch: Batch, num_classes: int) -> TrainState:
    """The state of a stage before its first step, quantizers calibrated on `batch`."""
    params, batch_stats = built.network.init(0)
    params = calibrate(built.network.observe_ranges, params, batch_stats, [batch.image])
    start = StageStart(params, 1, num_classes)
    return fresh_state(built.method, built.optimizer, start, batch_stats, jnp.ones(num_classes), STEPS_OF_TASK)


def step_work(recipe: Recipe) -> Work:
    """The training step of a completed recipe's last stage, compiled, on one batch that stays on the device."""
    built = build_stage(recipe, recipe.stages[-1])
    key, batch = key_for(0), random_batch(recipe.data)
    state = first_state(built, batch, recipe.data.num_classes)
    traced = jax.jit(step_of(built), donate_argnums=0).trace(state, batch, key)
    compiled = traced.lower().compile()
    holder = [state]

    def run(steps: int) -> None:
        for _ in range(steps):
            holder[0], _ = compiled(holder[0], batch, key)
        jax.block_until_ready(holder[0])

    temporaries = compiled.memory_analysis().temp_size_in_bytes
    return Work(run, operations(traced.jaxpr), compiled.cost_analysis()["bytes accessed"], temporaries)


def operations(jaxpr: Any) -> int:
    """Multiplications and additions of the matrix products and convolutions of a jaxpr, times the lengths of loops.

    (XLA's own count of a compiled step counts the body of a loop once.)"""
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
