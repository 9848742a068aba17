"""DER++: dark experience replay."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import Batch
from lifeq_jax.losses.base import Loss
from lifeq_jax.methods.base import Forward, Method, StageStart, TaskEnd
from lifeq_jax.methods.importance import as_partial
from lifeq_jax.methods.penalty import check_strength

NOBODY = 2**31 - 1  # key of an empty slot


class Remembered(NamedTuple):
    """The logits of M images at the end of the task that they belong to."""

    key: jax.Array  # (M,) int32, ascending; of (task, image), see `key_of`
    logits: jax.Array  # (M, K)
    num_rows: jax.Array  # () int32, images of the catalog
    alpha: jax.Array  # () float32; all values of alpha and beta share one compiled step
    beta: jax.Array  # () float32


def key_of(batch: Batch, num_rows: jax.Array) -> jax.Array:
    """(B,) int32, a unique number for each pair of an image and a task."""
    return batch.task * num_rows + batch.index


def derpp(alpha: float = 0.2, beta: float = 0.5) -> Method:
    """loss for a new example; beta loss + alpha mean_k (z_k - z'_k)^2 for a replayed one, z' its stored logits.

    z' are the logits at the end of the example's own task, for the image without augmentation; the mean is over the
    outputs of its own head. A replayed image without stored logits (recipe.importance_batches may leave some out) has
    beta loss alone. Source: Buzzega et al., NeurIPS 2020, eq. (6), with its constants for a memory of 500 CIFAR-10
    images; there z' come from the step that put the image into the memory. State: Remembered, 4 K bytes for each
    replayed image.

    Args:
        alpha: weight of the stored logits, 0 or more.
        beta: weight of a replayed example's loss, 0 or more.

    Example:
        >>> lq.methods.derpp(alpha=0.1).needs_replay
        True
    """
    alpha, beta = check_strength(alpha, "method.args.alpha"), check_strength(beta, "method.args.beta")
    outputs = jax.jit(lambda apply, params, image: apply(params, image).logits)

    def init(start: StageStart) -> Remembered:
        places = max(start.num_kept, 1)
        return Remembered(
            key=jnp.full(places, NOBODY, jnp.int32),
            logits=jnp.zeros((places, start.num_classes)),
            num_rows=jnp.array(start.num_rows, jnp.int32),
            alpha=jnp.float32(alpha),
            beta=jnp.float32(beta),
        )

    def example_loss(state: Remembered, loss: Loss, forward: Forward) -> jax.Array:
        batch, logits = forward.batch, forward.outputs.logits
        key, values = key_of(batch, state.num_rows), loss(forward.examples)
        place = jnp.minimum(jnp.searchsorted(state.key, key), len(state.key) - 1)
        own = jnp.ones_like(logits, bool) if batch.classes is None else batch.classes
        error = jnp.mean(jnp.square(logits - state.logits[place]), axis=-1, where=own)
        replayed = state.beta * values + jnp.where(state.key[place] == key, state.alpha * error, 0.0)
        return jnp.where(batch.is_replay, replayed, values)

    def end_task(state: Remembered, task: TaskEnd) -> Remembered:
        keys, logits = [np.asarray(state.key)], [np.asarray(state.logits)]
        for batch in task.loaders[-1]():
            counts = np.asarray(batch.weight) > 0
            keys.append(np.asarray(key_of(batch, state.num_rows))[counts])
            logits.append(np.asarray(outputs(as_partial(task.apply), task.params, batch.image))[counts])
        key = np.concatenate(keys)
        first = np.argsort(key, kind="stable")[: len(state.key)]  # NOBODY, the largest key, sorts behind those in use
        return state._replace(key=jnp.asarray(key[first]), logits=jnp.asarray(np.concatenate(logits)[first]))

    return Method(init=init, example_loss=example_loss, end_task=end_task, needs_replay=True)
