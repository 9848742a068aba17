"""One training step, pure: everything it knows comes in, everything new goes out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import Method, StageStart, StepInfo
from lifeq_jax.train.network import Network


class TrainState(NamedTuple):
    """All that training changes, and what it must know of the task. A pytree: donated, sharded, checkpointed whole."""

    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    method_state: PyTree
    counts: jax.Array  # (K,) float32, images of each class in the data of this task
    step: jax.Array  # int32, steps done in this task
    num_steps: jax.Array  # int32, steps this task will have at most
    rate_factor: jax.Array  # float32, what patience has left of the learning rate


def fresh_state(
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    start: StageStart,
    batch_stats: PyTree,
    counts: jax.typing.ArrayLike,
    num_steps: int,
) -> TrainState:
    """The state before the first step of a stage, whose first task has `counts` (K,) images of each class and takes
    `num_steps` steps."""
    return TrainState(
        params=start.params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(start.params),
        method_state=method.init(start),
        counts=jnp.asarray(counts),
        step=jnp.zeros((), jnp.int32),
        num_steps=jnp.array(num_steps, jnp.int32),
        rate_factor=jnp.ones(()),
    )


class Measured(NamedTuple):
    """What an objective says of one batch; of a device's part, its terms of the sums over all parts."""

    value: jax.Array  # mean loss of the batch, ()
    further: jax.Array  # what the method's `example_loss` adds to it, ()
    counts: PyTree  # sums over the batch's examples, of the structure of Objective.counts
    batch_stats: PyTree  # the new running statistics


class Objective(NamedTuple):
    """What a step minimizes, and what it counts on the way."""

    loss: Callable[[PyTree, TrainState, Any, jax.Array], tuple[jax.Array, Measured]]
    """(params, state, batch, key) -> (what is differentiated by params, the rest); a batch is what it takes for one"""
    counts: Callable[[], PyTree]  # the counts of no batch, each in a buffer of its own


class Totals(NamedTuple):
    """Sums over the steps of an epoch, kept on the device until it ends."""

    loss: jax.Array  # sum over steps of the mean loss
    penalty: jax.Array  # sum over steps of what the method adds: its penalty, and what it makes of the loss
    counts: PyTree  # of the objective
    steps: jax.Array
    first_bad: jax.Array  # int32, first step of this task whose loss or update is not finite; NEVER_BAD if none


NEVER_BAD = 2**31 - 1


def zero_totals(objective: Objective) -> Totals:
    """The totals of no step at all, each in a buffer of its own, since they are donated."""
    loss, penalty, steps = (jnp.zeros(()) for _ in range(3))
    return Totals(loss, penalty, objective.counts(), steps, jnp.array(NEVER_BAD, jnp.int32))


def add_totals(left: Totals, right: Totals) -> Totals:
    """The totals of two runs of steps together."""
    sums = jax.tree.map(jnp.add, left, right)
    return sums._replace(first_bad=jnp.minimum(left.first_bad, right.first_bad))


Step = Callable[[TrainState, Any, jax.Array], tuple[TrainState, Totals]]


def make_step(
    objective: Objective,
    network: Network,
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    axis_name: str | None = None,
) -> Step:
    """Returns the pure step (state, batch, key) -> (state, totals of this step).

    Args:
        objective: what is minimized; train/classify.py makes the one of a classifier.
        network: its `quantize` and `quantized` are used, by the method's penalty and the optimizer's links.
        method: adds its penalty and sees the step.
        optimizer: an optax chain that takes progress=, rate_factor=, method_state=, quantized=, batch= and
            gradient_of=, as `Method` has them.
        axis_name: the step runs under pmap or shard_map over this axis, on a part of the batch each. Losses and
            gradients are those of the whole batch even where padding is spread unevenly over the devices; running
            statistics are the devices' mean; each device draws its own noise."""

    def across(part: PyTree) -> PyTree:
        return lax.psum(part, axis_name) if axis_name else part

    def penalty_of(params: PyTree, method_state: PyTree) -> jax.Array:
        return method.penalty(method_state, params, network.quantize(params))

    def step(state: TrainState, batch: Any, key: jax.Array) -> tuple[TrainState, Totals]:
        if axis_name:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
        gradient = jax.grad(objective.loss, has_aux=True)

        def gradient_of(weight: jax.Array) -> PyTree:
            return across(gradient(state.params, state, batch._replace(weight=weight), key)[0])

        grads, measured = gradient(state.params, state, batch, key)
        value, further, counts, grads = across((measured.value, measured.further, measured.counts, grads))
        batch_stats = lax.pmean(measured.batch_stats, axis_name) if axis_name else measured.batch_stats
        penalty, pull = jax.value_and_grad(penalty_of)(state.params, state.method_state)
        updates, opt_state = optimizer.update(
            jax.tree.map(jnp.add, grads, pull),
            state.opt_state,
            state.params,
            progress=state.step / state.num_steps,
            rate_factor=state.rate_factor,
            method_state=state.method_state,
            quantized=network.quantized,
            batch=batch,
            gradient_of=gradient_of,
        )
        params = optax.apply_updates(state.params, updates)
        done = (state.step + 1) / state.num_steps
        method_state = method.observe(state.method_state, StepInfo(state.params, params, grads, done))
        is_finite = jnp.isfinite(value + penalty + further) & jnp.isfinite(optax.tree.norm(updates))
        bad = jnp.where(is_finite, NEVER_BAD, state.step).astype(jnp.int32)
        totals = Totals(value, penalty + further, counts, jnp.ones(()), bad)
        new_state = state._replace(
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            method_state=method_state,
            step=state.step + 1,
        )
        return new_state, totals

    return step
