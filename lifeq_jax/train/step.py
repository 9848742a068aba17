"""One training step and one evaluation step, pure: everything they know comes in, everything new goes out."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.classify import cross_entropy, of_head, weighted_mean
from lifeq_jax.methods.base import Method, Outputs, StepInfo
from lifeq_jax.metrics.classify import accuracy, confusion
from lifeq_jax.quant.codes import Table


class Network(NamedTuple):
    """The pure functions of a network at one pair of bit-widths."""

    init: Callable[[int], tuple[PyTree, PyTree]]  # seed -> (params, batch_stats)
    train: Callable[[PyTree, PyTree, jax.Array, jax.Array, jax.Array, bool], tuple[Outputs, PyTree]]
    """(params, batch_stats, image (B, H, W, C), share (B,), key, fixed_norm) -> (outputs, new batch_stats); share: how
    much of the batch has each example's class; fixed_norm: batch norm uses the running statistics and leaves them"""
    moments: Callable[[PyTree, jax.Array], PyTree]
    """(params, image) -> the batch's own statistics, a tree like batch_stats"""
    observe_ranges: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]]
    """(params, batch_stats, ranges so far, image) -> (ranges, params with the learned state that they give)"""
    evaluate: Callable[[PyTree, jax.Array, PyTree], Outputs]  # (params, image, batch_stats)
    evaluate_weights: Callable[[PyTree, jax.Array, PyTree], Outputs]  # (weights, ...): quantized already
    squares: Callable[..., PyTree | None]  # methods.base.Squares of params, with a further argument batch_stats
    squares_weights: Callable[..., PyTree | None]  # likewise, of weights that are quantized already
    head: Callable[[PyTree, jax.Array], jax.Array]  # (params, feature (B, F)) -> logits (B, K)
    quantize: Callable[[PyTree], PyTree]  # params -> the weights the network computes with
    table: Table  # the kernels that are quantized, by name
    quantized: PyTree  # bools like params: which leaves are such kernels


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


class Totals(NamedTuple):
    """Sums over the steps of an epoch, kept on the device until it ends."""

    loss: jax.Array  # sum over steps of the mean loss, nats
    penalty: jax.Array  # sum over steps of the method's penalty and batch loss
    correct: jax.Array  # examples classified correctly
    images: jax.Array
    steps: jax.Array
    first_bad: jax.Array  # int32, first step of this task with a loss that is not finite; NEVER_BAD if none


NEVER_BAD = 2**31 - 1


def zero_totals() -> Totals:
    """The totals of no step at all, each in a buffer of its own, since they are donated."""
    loss, penalty, correct, images, steps = (jnp.zeros(()) for _ in range(5))
    return Totals(loss, penalty, correct, images, steps, jnp.array(NEVER_BAD, jnp.int32))


def add_totals(left: Totals, right: Totals) -> Totals:
    """The totals of two runs of steps together."""
    sums = jax.tree.map(jnp.add, left, right)
    return sums._replace(first_bad=jnp.minimum(left.first_bad, right.first_bad))


Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Totals]]


def make_step(
    network: Network,
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    loss: Loss,
    axis_name: str | None = None,
    fixed_norm: bool = False,
) -> Step:
    """Returns the pure step (state, batch, key) -> (state, totals of this step).

    With `fixed_norm` batch norm uses the running statistics as they are and leaves them.

    With `axis_name` it runs under pmap or shard_map over that axis, on a part of the batch each: losses and gradients
    are those of the whole batch, whatever share of the weights a device has, running statistics the devices' mean, and
    each device draws its own noise."""

    def across(part: PyTree) -> PyTree:
        return lax.psum(part, axis_name) if axis_name else part

    def task_loss(params: PyTree, state: TrainState, batch: Batch, key: jax.Array):
        def evaluate(others: PyTree, image: jax.Array) -> Outputs:
            return network.evaluate(others, image, state.batch_stats)

        share = _class_share(batch, len(state.counts), across)
        outputs, batch_stats = network.train(params, state.batch_stats, batch.image, share, key, fixed_norm)
        logits, feature = of_head(outputs.logits, batch.classes), outputs.feature
        progress = state.step / state.num_steps
        values = loss(Examples(logits, feature, batch.label, batch.weight, state.counts, progress, across))
        value = weighted_mean(values, batch.weight)
        further = method.batch_loss(state.method_state, batch, outputs.logits, evaluate)
        if axis_name:  # means over the device's examples become its terms of the means over all examples
            weight = jnp.sum(batch.weight)
            part = weight / jnp.maximum(across(weight), 1.0)
            value, further = part * value, part * further
        return value + further, (value, further, logits, batch_stats)

    def penalty_of(params: PyTree, method_state: PyTree) -> jax.Array:
        return method.penalty(method_state, params, network.quantize(params))

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Totals]:
        if axis_name:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
        found = jax.grad(task_loss, has_aux=True)(state.params, state, batch, key)
        grads, (value, further, logits, batch_stats) = found
        value, further, grads = across((value, further, grads))
        if axis_name:
            batch_stats = lax.pmean(batch_stats, axis_name)
        penalty, pull = jax.value_and_grad(penalty_of)(state.params, state.method_state)
        updates, opt_state = optimizer.update(
            jax.tree.map(jnp.add, grads, pull),
            state.opt_state,
            state.params,
            progress=state.step / state.num_steps,
            rate_factor=state.rate_factor,
            method_state=state.method_state,
            quantized=network.quantized,
        )
        params = optax.apply_updates(state.params, updates)
        done = (state.step + 1) / state.num_steps
        method_state = method.observe(state.method_state, StepInfo(state.params, params, grads, done))
        correct, images = across(accuracy(logits, batch.label, batch.weight))
        bad = jnp.where(jnp.isfinite(value + penalty + further), NEVER_BAD, state.step).astype(jnp.int32)
        totals = Totals(value, penalty + further, correct, images, jnp.ones(()), bad)
        new_state = state._replace(
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            method_state=method_state,
            step=state.step + 1,
        )
        return new_state, totals

    return step


def _class_share(batch: Batch, num_classes: int, across: Callable[[jax.Array], jax.Array]) -> jax.Array:
    images = across(jax.ops.segment_sum(batch.weight, batch.label, num_segments=num_classes))
    return batch.weight * images[batch.label] / jnp.maximum(jnp.sum(images), 1.0)


class Score(NamedTuple):
    """Sums over an evaluated set."""

    loss: jax.Array  # sum of the cross-entropies, nats
    confusion: jax.Array  # (K, K) float32 counts, row: label, column: prediction


def zero_score(num_classes: int) -> Score:
    """The score of an empty set."""
    return Score(jnp.zeros(()), jnp.zeros((num_classes, num_classes)))


def make_evaluate(network: Network, axis_name: str | None = None) -> Callable[[PyTree, PyTree, Score, Batch], Score]:
    """Returns the pure step (params, batch_stats, score so far, batch) -> score; padding does not count.

    With `axis_name` the batch is a device's part, and the score is of all parts."""

    def evaluate(params: PyTree, batch_stats: PyTree, score: Score, batch: Batch) -> Score:
        logits = of_head(network.evaluate(params, batch.image, batch_stats).logits, batch.classes)
        loss = jnp.sum(cross_entropy(logits, batch.label) * batch.weight)
        found = Score(loss, confusion(logits, batch.label, batch.weight))
        return jax.tree.map(jnp.add, score, lax.psum(found, axis_name) if axis_name else found)

    return evaluate
