"""A-GEM's link of the optimizer's chain: a gradient that does not raise the loss of replayed images."""

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import total
from lifeq_jax.core.types import Batch, PyTree


def projected(gradient: PyTree, reference: PyTree) -> PyTree:
    """g - (g.r / r.r) r where g.r < 0, else g: the nearest gradient at an angle of at most 90 degrees to r.

    g and r are trees of the same structure; products are over all leaves. Source: Chaudhry et al., ICLR 2019, eq.
    (11)."""
    product, square = (total(jax.tree.map(jnp.multiply, one, reference)) for one in (gradient, reference))
    share = jnp.where(product < 0, product / jnp.where(square > 0, square, 1.0), 0.0)
    return jax.tree.map(lambda g, r: g - share * r, gradient, reference)


def follow_new_examples() -> optax.GradientTransformationExtraArgs:
    """Replaces the gradient of the batch by that of its new examples, `projected` against that of its replayed ones.

    Other terms of the updates, such as the gradient of a penalty, stay. Costs two more backward passes.
    `update` takes `batch=`, `batch_gradient=` and `gradient_of=` (methods.base.Method)."""

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, *, batch: Batch, batch_gradient, gradient_of, **_
    ):
        new, replayed = (
            gradient_of(jnp.where(counts, batch.weight, 0.0)) for counts in (~batch.is_replay, batch.is_replay)
        )
        changed = jax.tree.map(lambda u, g, p: u - g + p, updates, batch_gradient, projected(new, replayed))
        return changed, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
