"""One training step, as a pure function."""

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
    """All that training changes, and constants of the task. A pytree: donated, sharded and checkpointed as a whole."""

    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    method_state: PyTree
    counts: jax.Array  # (K,) float32, images of each class in the data of this task
    step: jax.Array  # int32, steps done in this task
    num_steps: jax.Array  # int32, steps this task will have at most
    rate_factor: jax.Array  # float32, factor of the learning rate that patience has lowered


def fresh_state(
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    start: StageStart,
    batch_stats: PyTree,
    counts: jax.typing.ArrayLike,
    num_steps: int,
) -> TrainState:
    """The state before the first step of a stage.

    Args:
        method: its `init` makes the method state.
        optimizer: its `init` makes the optimizer state.
        start: the parameters, and what `method.init` may want to know of the stage.
        batch_stats: running statistics, {} for a network without batch norm.
        counts: (K,) images of each class in the data of the first task.
        num_steps: steps of the first task, at most.

    Returns:
        The state for the step of `make_step`, in new buffers.

    Example:
        >>> method, rate = lq.methods.finetune(), lq.optim.constant(0.1)
        >>> base, learned = lq.optim.sgd_by_progress(rate), lq.optim.adam_by_progress(rate)
        >>> optimizer = lq.optim.method_chain(method.gradients, base, learned, method.constraint)
        >>> start = lq.StageStart({"kernel": np.ones((8, 2))}, num_tasks=1, num_classes=2)
        >>> int(lq.fresh_state(method, optimizer, start, {}, counts=[5.0, 5.0], num_steps=10).step)
        0
    """
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
    """The values of an objective for one batch; for a device's part, its terms of the sums over all parts."""

    value: jax.Array  # mean loss of the batch, ()
    further: jax.Array  # what the method's `example_loss` adds to it, ()
    counts: PyTree  # sums over the batch's examples, of the structure of Objective.counts
    batch_stats: PyTree  # the new running statistics


class Objective(NamedTuple):
    """The function that a step minimizes, with the counts that it returns."""

    loss: Callable[[PyTree, TrainState, Any, jax.Array], tuple[jax.Array, Measured]]
    """(params, state, batch, key) -> (scalar that is differentiated with respect to params, Measured); the batch may be
    of any type"""
    counts: Callable[[], PyTree]  # zero counts, each in its own buffer


class Totals(NamedTuple):
    """Sums over the steps of an epoch, kept on the device until it ends."""

    loss: jax.Array  # sum over steps of the mean loss
    penalty: jax.Array  # sum over steps of what the method adds to the loss: its penalty, and by its `example_loss`
    counts: PyTree  # of the objective
    steps: jax.Array
    first_bad: jax.Array  # int32, first step of this task whose loss or update is not finite; NEVER_BAD if none


NEVER_BAD = 2**31 - 1


def zero_totals(objective: Objective) -> Totals:
    """Zero totals, each in its own buffer, since they are donated."""
    loss, penalty, steps = (jnp.zeros(()) for _ in range(3))
    return Totals(loss, penalty, objective.counts(), steps, jnp.array(NEVER_BAD, jnp.int32))


def add_totals(left: Totals, right: Totals) -> Totals:
    """The totals of two sequences of steps, `left` before `right`."""
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
    """Makes a training step.

    Args:
        objective: what is minimized; `lq.classification` makes that of a classifier.
        network: its `quantize` is used by the method's penalty, its `quantized` by the links of the optimizer.
        method: adds its penalty; its `observe` gets the step.
        optimizer: an optax chain that takes progress=, rate_factor=, method_state=, quantized=, batch=,
            batch_gradient= and gradient_of=, as described in `Method`; `lq.optim.method_chain` makes one.
        axis_name: the step runs under pmap or shard_map over this axis, each device on a part of the batch. Losses and
            gradients are those of the whole batch even where padding is spread unevenly over the devices; running
            statistics are the devices' mean; each device draws its own noise.

    Returns:
        The pure function (state, batch, key) -> (state, totals of this step). docs/api.md trains with it.

    Example:
        >>> import jax
        >>> quantizers = lq.setup("convolutions", lq.quantizers.lsq, lq.quantizers.activation, 4, 8)
        >>> network = lq.network(lq.models.mlp(4, quantizers, hidden=8), image_shape=(8, 8, 1))
        >>> method, rate = lq.methods.finetune(), lq.optim.constant(0.1)
        >>> base, learned = lq.optim.sgd_by_progress(rate), lq.optim.adam_by_progress(rate)
        >>> optimizer = lq.optim.method_chain(method.gradients, base, learned, method.constraint)
        >>> objective = lq.classification(network, method, lq.losses.cross_entropy())
        >>> step = lq.make_step(objective, network, method, optimizer)
        >>> params, batch_stats = network.init(0)
        >>> start = lq.StageStart(params, num_tasks=1, num_classes=4)
        >>> state = lq.fresh_state(method, optimizer, start, batch_stats, counts=np.full(4, 2.0), num_steps=10)
        >>> image, label = np.zeros((8, 8, 8, 1), np.float32), np.arange(8, dtype=np.int32) % 4
        >>> zeros = np.zeros(8, np.int32)
        >>> batch = lq.Batch(image, label, np.ones(8, np.float32), task=zeros, is_replay=zeros > 0, index=zeros)
        >>> state, totals = jax.jit(step)(state, batch, jax.random.key(0))
        >>> int(state.step), round(float(totals.loss), 3)
        (1, 1.386)
    """

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
            batch_gradient=grads,
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
