"""Accuracy of a classifier, from sums that add up over batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.refusal import Refusal


class Tally(NamedTuple):
    """Correct examples and examples seen, as sums; tallies of several batches add leaf by leaf."""

    correct: jax.Array  # scalar float32
    total: jax.Array  # scalar float32


def accuracy(logits: jax.Array, label: jax.Array, weight: jax.Array) -> Tally:
    """The tally of one batch: logits (B, K), label (B,) int, weight (B,) with 0 for padding.

    Among equal logits the lowest class is the prediction. The accuracy of a whole set is the sum of `correct` over the
    sum of `total`, so a padded last batch changes nothing."""
    hit = (jnp.argmax(logits, axis=-1) == label).astype(weight.dtype)
    return Tally(jnp.sum(hit * weight), jnp.sum(weight))


def confusion(logits: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    """(K, K) float32 sums of weights: row the true class, column the predicted one; adds up over batches."""
    classes = logits.shape[-1]
    cell = label * classes + jnp.argmax(logits, axis=-1)
    sums = jax.ops.segment_sum(weight.astype(jnp.float32), cell, num_segments=classes * classes)
    return sums.reshape(classes, classes)


def class_shares(correct: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(..., K) float64 share of each class that is predicted right, correct / images; NaN without images."""
    correct, images = np.asarray(correct, np.float64), np.asarray(images, np.float64)
    return np.where(images > 0, correct / np.where(images > 0, images, 1.0), np.nan)


def per_class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """(K,) share of each class that is predicted right, from a confusion matrix; NaN without examples."""
    return class_shares(np.diag(matrix), np.sum(matrix, axis=1))


def mean_of_known(values: np.ndarray) -> float:
    """Mean of the values (n,) that are not NaN; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Mean of `per_class_accuracy` over the classes that have examples; NaN where none has any."""
    return mean_of_known(per_class_accuracy(matrix))


class ShotGroups(NamedTuple):
    """Mean accuracy of the classes of each group, a share; NaN for a group without examples."""

    many: float
    medium: float
    few: float


MANY, FEW = 100, 20  # training images, the bounds of Liu et al.


def check_bounds(many: int, few: int) -> None:
    """Refuses bounds of shot groups that overlap or are negative."""
    if not 0 <= few <= many:
        raise Refusal(f"many={many} and few={few} do not bound groups of classes; choose 0 <= few <= many")


def shot_groups(per_class: np.ndarray, counts: np.ndarray, many: int = MANY, few: int = FEW) -> ShotGroups:
    """Mean accuracy of the classes with more than `many` training images, with `few` to `many`, with fewer than `few`.

    per_class: (K,) accuracies, NaN for a class without examples, which is left out. counts: (K,) training images; a
    class without any is few-shot. Refuses bounds that overlap. Source: Liu et al., Large-Scale Long-Tailed Recognition
    in an Open World, CVPR 2019 (many-, medium- and few-shot classes)."""
    check_bounds(many, few)
    groups = (counts > many, (counts >= few) & (counts <= many), counts < few)
    return ShotGroups(*(mean_of_known(per_class[group]) for group in groups))
