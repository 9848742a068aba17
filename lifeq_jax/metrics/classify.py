"""Accuracy of a classifier, from sums that add up over batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Tally(NamedTuple):
    """Correct examples and examples seen, as sums; tallies of several batches add leaf by leaf."""

    correct: jax.Array  # scalar float32
    total: jax.Array  # scalar float32


def accuracy(logits: jax.Array, label: jax.Array, weight: jax.Array) -> Tally:
    """The tally of one batch: logits (B, K), label (B,) int, weight (B,) with 0 for padding.

    Of equal logits the lowest class counts as predicted. The accuracy of a whole set is the sum of `correct`
    over the sum of `total`, so a padded last batch changes nothing."""
    hit = (jnp.argmax(logits, axis=-1) == label).astype(weight.dtype)
    return Tally(jnp.sum(hit * weight), jnp.sum(weight))


def confusion(logits: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    """(K, K) float32 sums of weights: row the true class, column the predicted one; adds up over batches."""
    classes = logits.shape[-1]
    cell = label * classes + jnp.argmax(logits, axis=-1)
    sums = jax.ops.segment_sum(weight.astype(jnp.float32), cell, num_segments=classes * classes)
    return sums.reshape(classes, classes)


def per_class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """(K,) share of each class that is predicted right, from a confusion matrix; NaN without examples."""
    matrix = np.asarray(matrix, np.float64)
    seen = matrix.sum(axis=1)
    return np.where(seen > 0, np.diag(matrix) / np.where(seen > 0, seen, 1.0), np.nan)


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Mean of `per_class_accuracy` over the classes that have examples; NaN where none has any."""
    shares = per_class_accuracy(matrix)
    shares = shares[~np.isnan(shares)]
    return float(shares.mean()) if shares.size else float("nan")
