"""Classification: what a training step minimizes, and how an evaluation scores."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.classify import cross_entropy_of_labels, of_head, weighted_mean
from lifeq_jax.methods.base import Forward, Method, Outputs
from lifeq_jax.metrics.classify import Tally, accuracy, confusion
from lifeq_jax.train.network import Network
from lifeq_jax.train.step import Measured, Objective, TrainState


def classification(
    network: Network, method: Method, loss: Loss, axis_name: str | None = None, fixed_norm: bool = False
) -> Objective:
    """The objective of a classifier: the mean of `method.example_loss` over a batch.

    Args:
        network: of `lq.network`.
        method: its `example_loss` may change the loss, or add to it.
        loss: values (B,) in nats from `Examples`; a row of `lq.losses`.
        axis_name: as in make_step.
        fixed_norm: batch norm uses the running statistics and does not update them.

    Returns:
        The objective for `make_step`; its counts are a `Tally` of the training batches.

    Example:
        >>> quantizers = lq.setup("convolutions", lq.quantizers.lsq, lq.quantizers.activation, 4, 8)
        >>> network = lq.network(lq.models.mlp(4, quantizers, hidden=8), image_shape=(8, 8, 1))
        >>> objective = lq.classification(network, lq.methods.finetune(), lq.losses.cross_entropy())
        >>> float(objective.counts().total)
        0.0
    """

    def across(part: PyTree) -> PyTree:
        return lax.psum(part, axis_name) if axis_name else part

    def task_loss(params: PyTree, state: TrainState, batch: Batch, key: jax.Array) -> tuple[jax.Array, Measured]:
        def evaluate(others: PyTree, image: jax.Array) -> Outputs:
            return network.evaluate(others, image, state.batch_stats)

        share = _class_share(batch, len(state.counts), across)
        outputs, batch_stats = network.train(params, state.batch_stats, batch.image, share, key, fixed_norm)
        logits, feature = of_head(outputs.logits, batch.classes), outputs.feature
        progress = state.step / state.num_steps
        examples = Examples(logits, feature, batch.label, batch.weight, state.counts, progress, across)
        forward = Forward(batch, outputs, examples, evaluate)
        value = weighted_mean(loss(examples), batch.weight)
        total = weighted_mean(method.example_loss(state.method_state, loss, forward), batch.weight)
        if axis_name:  # turns means over the device's examples into its terms of the means over all examples
            weight = jnp.sum(batch.weight)
            part = weight / jnp.maximum(across(weight), 1.0)
            value, total = part * value, part * total
        return total, Measured(value, total - value, accuracy(logits, batch.label, batch.weight), batch_stats)

    return Objective(task_loss, lambda: Tally(jnp.zeros(()), jnp.zeros(())))


def _class_share(batch: Batch, num_classes: int, across: Callable[[jax.Array], jax.Array]) -> jax.Array:
    images = across(jax.ops.segment_sum(batch.weight, batch.label, num_segments=num_classes))
    return batch.weight * images[batch.label] / jnp.maximum(jnp.sum(images), 1.0)


class Score(NamedTuple):
    """Sums over an evaluated set."""

    loss: jax.Array  # sum of the cross-entropies, nats
    confusion: jax.Array  # (K, K) float32 counts, row: label, column: prediction

    @property
    def accuracy(self) -> float:
        """Share of correct examples, 0..1; NaN for an empty set."""
        count = self.confusion.sum()
        return float(self.confusion.trace() / count) if count else float("nan")


def zero_score(num_classes: int) -> Score:
    """The score of an empty set."""
    return Score(jnp.zeros(()), jnp.zeros((num_classes, num_classes)))


def make_score(network: Network, axis_name: str | None = None) -> Callable[[PyTree, PyTree, Score, Batch], Score]:
    """Returns the pure function (params, batch_stats, score so far, batch) -> score; padding does not count.

    With `axis_name` the batch is one device's part, and the score is that of all parts."""

    def score(params: PyTree, batch_stats: PyTree, so_far: Score, batch: Batch) -> Score:
        logits = of_head(network.evaluate(params, batch.image, batch_stats).logits, batch.classes)
        loss = jnp.sum(cross_entropy_of_labels(logits, batch.label) * batch.weight)
        own = Score(loss, confusion(logits, batch.label, batch.weight))
        return jax.tree.map(jnp.add, so_far, lax.psum(own, axis_name) if axis_name else own)

    return score
