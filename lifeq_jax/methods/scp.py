"""Sliced Cramer preservation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import zeros_like
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.classify import of_head
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.importance import Contribution, Probe, Sum, not_empty
from lifeq_jax.methods.penalty import anchored

Pull = Callable[[jax.Array], tuple[PyTree]]  # (K,) cotangent of the mean logits -> gradient


def squared_projections(pull: Pull, vectors: jax.Array) -> PyTree:
    """Mean over the (L, K) vectors of (d <v, mean logits> / d p)^2, one gradient in memory at a time."""

    def add(total: PyTree, vector: jax.Array) -> tuple[PyTree, None]:
        return jax.tree.map(lambda t, g: t + jnp.square(g), total, pull(vector)[0]), None

    start = zeros_like(jax.eval_shape(pull, vectors[0])[0])
    total, _ = jax.lax.scan(add, start, vectors)
    return jax.tree.map(lambda t: t / vectors.shape[0], total)


def absolute_projection(pull: Pull, vectors: jax.Array) -> PyTree:
    """|d (mean over the (L, K) vectors of <v, mean logits>) / d p|: LifeQuant's, which tends to 0 as L grows."""
    return jax.tree.map(jnp.abs, pull(jnp.mean(vectors, axis=0))[0])


VARIANTS: dict[str, Callable[[Pull, jax.Array], PyTree]] = {
    "squared": squared_projections,
    "absolute": absolute_projection,
}


def unit_vectors(key: jax.Array, num_vectors: int, size: int) -> jax.Array:
    """(num_vectors, size) directions, uniform on the unit sphere."""
    normal = jax.random.normal(key, (num_vectors, size))
    return normal / jnp.linalg.norm(normal, axis=1, keepdims=True)


def sliced(probe: Probe, batch: Batch, variant: str, draw: Callable[[int], jax.Array]) -> Sum:
    """The contribution of one batch: projections of its mean logits (K,) on the vectors draw(K), (L, K)."""

    def mean_logits(point: PyTree) -> jax.Array:
        total = jnp.sum(batch.weight)
        logits = of_head(probe.apply(point, batch.image).logits, batch.classes, out=0.0)
        return batch.weight @ logits / jnp.where(total > 0, total, 1.0)

    output, pull = jax.vjp(mean_logits, probe.point)
    return Sum(VARIANTS[variant](pull, draw(output.shape[0])), not_empty(batch))


def sliced_contribution(num_vectors: int, variant: str) -> Contribution:
    """`sliced` with `num_vectors` fresh unit vectors per batch."""
    lookup(VARIANTS, variant, "method.args.variant")
    if num_vectors < 1:
        raise Refusal(f"method.args.num_vectors={num_vectors!r} is not a number of vectors from 1 on")

    def contribution(probe: Probe, batch: Batch, key: jax.Array) -> Sum:
        return sliced(probe, batch, variant, lambda size: unit_vectors(key, num_vectors, size))

    return contribution


def scp(
    strength: float = 1.0,
    num_vectors: int = 50,
    variant: str = "squared",
    history: str = "online",
    decay: float = 1.0,
) -> Method:
    """strength * sum S (p - a)^2, S = mean over batches of `variant` of the projections of the mean logits.

    `variant`: squared is that of Kolouri et al. (ICLR 2020); LifeQuant's `scp` is absolute, with history recomputed.
    The expectation of squared is |d mean logits / d p|^2 / K, so few classes need few vectors. Uses no labels.

    Args:
        strength: finite, 0 or more.
        num_vectors: random unit vectors per batch.
        variant: squared or absolute, see above.
        history: per_task, online, averaged or recomputed, as in `ewc`.
        decay: of the old importances, in [0, 1].

    Example:
        >>> method = lq.methods.scp(num_vectors=10)
        >>> float(method.penalty(method.init(lq.StageStart({"w": np.float32(1)}, 1, 2)), {"w": 3.0}, {"w": 3.0}))
        0.0
    """
    contribution = sliced_contribution(num_vectors, variant)
    return anchored(contribution, strength=strength, history=history, decay=decay)
