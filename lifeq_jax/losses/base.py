"""What a loss sees, and what it returns."""

from collections.abc import Callable
from typing import NamedTuple

import jax


class Examples(NamedTuple):
    """A batch as losses see it. With several devices it is one device's part of the batch."""

    logits: jax.Array  # (B, K) float
    feature: jax.Array  # (B, F) float, the input of the head
    label: jax.Array  # (B,) int
    weight: jax.Array  # (B,) float, 0: padding, which counts nowhere
    counts: jax.Array  # (K,) float, images of each class in the data being trained on; 0 for an absent class
    progress: jax.Array  # () float, share of the task that is done, 0..1
    across: Callable[[jax.Array], jax.Array] = lambda part: part  # sums an array over the devices of the batch


Loss = Callable[[Examples], jax.Array]
"""Returns (B,) nats, one value an example. Training minimizes their mean, weighted by `Examples.weight`."""
