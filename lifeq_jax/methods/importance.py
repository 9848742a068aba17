"""How much each parameter matters to data already learned: estimators that stream over batches.

An estimator adds up a `Contribution` per batch in one tree of sums. Each docstring says what the sums are divided by,
since the literature differs: the number of batches where the gradient is that of a batch mean, as in LifeQuant, and the
number of examples for per-example gradients. Rows of weight 0 never count. Networks run in evaluation mode, with their
running statistics fixed.

Squared per-example gradients are computed layer by layer where the network can (`Probe.squares`), at about the cost of
a training step. Where it cannot, as at the latent parameters behind quantized weights, they come from one gradient per
example, which is exact too and takes many times as long."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import in_chunks, zeros_like
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.classify import of_head, weighted_mean
from lifeq_jax.methods.base import Outputs, no_squares

CHUNK = 16  # examples whose gradients are held at once


class Probe(NamedTuple):
    """A network and the point at which the importance of its parameters is estimated; a pytree."""

    apply: Partial  # (point, image) -> Outputs
    head: Partial  # (point, feature) -> logits
    point: PyTree  # parameters, or quantized weights
    counts: jax.Array  # (K,) float32, class sizes for the balanced losses
    num_batches: jax.Array  # () float32, for objectives whose scale depends on it, else 1
    squares: Partial = Partial(no_squares)  # methods.base.Squares, at the point


class Sum(NamedTuple):
    """A running sum over batches, and the number of batches or examples in it."""

    total: PyTree  # like Probe.point
    size: jax.Array  # () float32


ImportanceObjective = Callable[[Probe, Batch, jax.Array], jax.Array]  # (probe, batch, key) -> scalar of the batch
Contribution = Callable[[Probe, Batch, jax.Array], Sum]
ImportanceEstimator = Callable[[Probe, Iterable[Batch], jax.Array], Sum]


def as_partial(function: Callable) -> Partial:
    """`function` as a pytree. A jax.tree_util.Partial is returned unchanged: its arrays are then arguments of the
    compiled estimator, and a new task with new running statistics does not compile it again."""
    return function if isinstance(function, Partial) else Partial(function)


def estimator(contribution: Contribution) -> ImportanceEstimator:
    """(probe, batches, key) -> the Sum of `contribution` over the batches; batch i gets fold_in(key, i).

    Compiled once per shape of a batch. Build it once per method and keep it."""

    def add(running: Sum, probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        return jax.tree.map(jnp.add, running, contribution(probe, batch, key))

    compiled = jax.jit(add, donate_argnums=0)

    def estimate(probe: Probe, batches: Iterable[Batch], key: jax.Array) -> Sum:
        running = Sum(zeros_like(probe.point), jnp.zeros(()))
        for index, batch in enumerate(batches):
            running = compiled(running, probe, batch, jax.random.fold_in(key, index))
        return running

    return estimate


def mean(running: Sum) -> PyTree:
    """total / size. Refuses an empty sum: a loader without a single example."""
    if float(running.size) == 0.0:
        raise Refusal("importance: the loaders of the finished tasks yield 0 examples; at least 1 is needed")
    return jax.tree.map(lambda total: total / running.size, running.total)


def not_empty(batch: Batch) -> jax.Array:
    """1.0 if some row of `batch` has a weight, else 0.0: the batch's weight in a mean over batches."""
    return jnp.any(batch.weight > 0).astype(jnp.float32)


def gradient(objective: ImportanceObjective, probe: Probe, batch: Batch, key: jax.Array) -> PyTree:
    """The gradient of `objective` with respect to the point."""
    return jax.grad(lambda point: objective(probe._replace(point=point), batch, key))(probe.point)


def mean_loss(loss: Loss) -> ImportanceObjective:
    """The mean of `loss` over the rows that count."""

    def objective(probe: Probe, batch: Batch, key: jax.Array) -> jax.Array:
        return mean_over(loss, probe, probe.apply(probe.point, batch.image), batch)

    return objective


def mean_over(loss: Loss, probe: Probe, outputs: Outputs, batch: Batch) -> jax.Array:
    """The mean of `loss` of a finished task's network over the rows of `batch` that count."""
    logits, feature = outputs
    logits = of_head(logits, batch.classes)
    examples = Examples(logits, feature, batch.label, batch.weight, probe.counts, jnp.ones(()))
    return weighted_mean(loss(examples), batch.weight)


def squared_objective(objective: ImportanceObjective) -> Contribution:
    """(d objective / d p)^2 of each batch; mean over batches."""

    def contribution(probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        gradients = gradient(objective, probe, batch, key)
        return Sum(jax.tree.map(jnp.square, gradients), not_empty(batch))

    return contribution


def absolute_objective(objective: ImportanceObjective) -> Contribution:
    """|d objective / d p| of each batch; mean over batches."""

    def contribution(probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        gradients = gradient(objective, probe, batch, key)
        return Sum(jax.tree.map(jnp.abs, gradients), not_empty(batch))

    return contribution


def squared_batch_gradients(loss: Loss) -> Contribution:
    """(gradient of the batch-mean loss)^2, mean over batches, with the data's labels.

    For B independent examples it is about 1/B of the empirical Fisher where the mean gradient vanishes.
    Source: LifeQuant utils/lifelong.py (`ewc`, `ours`)."""
    return squared_objective(mean_loss(loss))


def squared_sampled_batch_gradients(loss: Loss) -> Contribution:
    """(gradient of the batch-mean loss)^2, mean over batches, with labels drawn from the network's own softmax.

    For B examples it is about 1/B of the true Fisher information. Source: BLIP RL/src/ppo_ewc.py, with B = 62."""

    def objective(probe: Probe, batch: Batch, key: jax.Array) -> jax.Array:
        outputs = probe.apply(probe.point, batch.image)
        return mean_over(loss, probe, outputs, batch._replace(label=_drawn(outputs.logits, batch, key)))

    return squared_objective(objective)


def squared_example_gradients(loss: Loss) -> Contribution:
    """(gradient of one example's loss)^2, mean over examples, with the data's labels: the empirical Fisher."""

    def contribution(probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        return _sum_of_squares(loss, probe, batch, lambda logits: batch.label)

    return contribution


def squared_sampled_gradients(loss: Loss) -> Contribution:
    """(gradient of one example's loss)^2, mean over examples, with labels drawn from the network's own softmax.

    With the cross-entropy this is an unbiased estimate of the diagonal of the true Fisher information."""

    def contribution(probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        return _sum_of_squares(loss, probe, batch, lambda logits: _drawn(logits, batch, key))

    return contribution


def _drawn(logits: jax.Array, batch: Batch, key: jax.Array) -> jax.Array:
    return jax.random.categorical(key, of_head(logits, batch.classes)).astype(jnp.int32)


Labels = Callable[[jax.Array], jax.Array]  # logits (B, K) of all heads -> (B,) int32


def _sum_of_squares(loss: Loss, probe: Probe, batch: Batch, labels: Labels) -> Sum:
    """Sum over examples of weight * gradient^2, each example's loss with the label that `labels` gives."""

    def values(outputs: Outputs) -> jax.Array:
        labelled = batch._replace(label=labels(outputs.logits))
        return jax.vmap(partial(_loss_alone, loss, probe))(outputs, labelled)

    total = probe.squares(probe.point, batch.image, values, batch.weight)
    if total is None:
        label = labels(probe.apply(probe.point, batch.image).logits)
        total = _one_by_one(loss, probe, batch._replace(label=label))
    return Sum(total, jnp.sum(batch.weight))


def _alone(example: PyTree) -> PyTree:
    return jax.tree.map(lambda part: part[None], example)


def _loss_alone(loss: Loss, probe: Probe, outputs: Outputs, example: Batch) -> jax.Array:
    return mean_over(loss, probe, _alone(outputs), _alone(example._replace(weight=jnp.ones(()))))


def _one_by_one(loss: Loss, probe: Probe, batch: Batch) -> PyTree:
    """A gradient for every example, at most CHUNK of them in memory at once."""

    def square(example: Batch) -> PyTree:
        def value(point: PyTree) -> jax.Array:
            outputs = probe.apply(point, example.image[None])
            return _loss_alone(loss, probe, jax.tree.map(lambda part: part[0], outputs), example)

        # not a product alone: the gradient of padding (weight 0) may be NaN
        return jax.tree.map(
            lambda g: jnp.where(example.weight > 0, example.weight * jnp.square(g), 0.0), jax.grad(value)(probe.point)
        )

    def add(total: PyTree, chunk: Batch) -> tuple[PyTree, None]:
        return jax.tree.map(lambda t, s: t + jnp.sum(s, axis=0), total, jax.vmap(square)(chunk)), None

    total, _ = jax.lax.scan(add, zeros_like(probe.point), in_chunks(batch, CHUNK))
    return total


FISHERS: dict[str, Callable[[Loss], Contribution]] = {
    "batch": squared_batch_gradients,
    "empirical": squared_example_gradients,
    "sampled": squared_sampled_gradients,
    "sampled_batch": squared_sampled_batch_gradients,
}
