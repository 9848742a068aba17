"""What is timed: training steps of networks for small images, on data that is made up."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.bench.timing import Run
from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.keys import generator_for, key_for
from lifeq_jax.core.types import Batch
from lifeq_jax.train.build import Built, build_stage
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.step import TrainState, make_step

STEPS_OF_TASK = 1000  # what a schedule sees


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


def lifequant(model: str, batch_size: int, bits: int) -> Recipe:
    """The same with LifeQuant's quantizers, loss and penalty."""
    return bench_recipe(model, batch_size, bits, loss=Part("ball_log_prior"), method=Part("lifequant"))


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

    return Work(run, operations(traced.jaxpr), compiled.cost_analysis()["bytes accessed"])


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
