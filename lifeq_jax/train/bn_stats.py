"""Re-estimation of batch-norm statistics with the current weights.

Running averages lag behind weights that oscillate between two integers; at 3 bits this costs accuracy (Overcoming
Oscillations, ICML 2022, section 2.3 and table 2)."""

from collections.abc import Callable, Iterable

import jax

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree

Moments = Callable[[PyTree, jax.Array], PyTree]  # (params, image) -> statistics of the batch, a tree like batch_stats


def make_reestimate(moments: Moments) -> Callable[[PyTree, Iterable[jax.Array]], PyTree]:
    """Returns (params, images) -> batch_stats: the plain mean over batches of each batch's mean and unbiased variance.

    As in training, every layer normalizes with the batch's own statistics. Compiled once."""
    first = jax.jit(moments)
    add = jax.jit(lambda total, params, image: jax.tree.map(jax.numpy.add, total, moments(params, image)))

    def reestimate(params: PyTree, images: Iterable[jax.Array]) -> PyTree:
        total, count = None, 0
        for image in images:
            total = first(params, image) if total is None else add(total, params, image)
            count += 1
        if total is None:
            raise Refusal("batch-norm re-estimation needs at least 1 training batch")
        return jax.tree.map(lambda leaf: leaf / count, total)

    return reestimate
