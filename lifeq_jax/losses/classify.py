"""Cross-entropy of single examples, heads of tasks, and the mean that padding does not count in."""

import jax
import jax.numpy as jnp


def cross_entropy_of_labels(logits: jax.Array, label: jax.Array) -> jax.Array:
    """-log softmax(logits)[label] of each example: logits (B, K) float, label (B,) int -> (B,) in nats.

    Holds: finite for any finite logits; not below 0; the gradient is softmax(logits) - one_hot(label)."""
    picked = jnp.take_along_axis(logits, label.reshape(-1, 1), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - picked[:, 0]


OUT = -1e9  # a logit whose softmax is 0; finite, so that no loss computes inf - inf


def of_head(logits: jax.Array, classes: jax.Array | None, out: float = OUT) -> jax.Array:
    """logits (B, K) with `out` in place of the outputs that belong to other heads; classes as in `Batch`.

    Holds: no gradient reaches the other heads, and with `OUT` their softmax is exactly 0."""
    return logits if classes is None else jnp.where(classes, logits, out)


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """sum(values * weight) / sum(weight) over (B,) values, a scalar; 0 where all weights are 0."""
    total = jnp.sum(weight)
    return jnp.sum(values * weight) / jnp.where(total > 0, total, 1.0)
