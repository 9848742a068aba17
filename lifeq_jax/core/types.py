"""Records that all rooms share."""

from typing import Any, NamedTuple

import jax

PyTree = Any


class Batch(NamedTuple):
    """B examples as a train step or an evaluation sees them."""

    image: jax.Array  # (B, H, W, C) float32, augmented and normalized
    label: jax.Array  # (B,) int32, one numbering of the classes for all tasks
    weight: jax.Array  # (B,) float32, 1 for an example, 0 for padding
    task: jax.Array  # (B,) int32, the task whose CSV the example comes from
    is_replay: jax.Array  # (B,) bool, drawn from a replay CSV
    index: jax.Array  # type: ignore[assignment]  # (B,) int32, image in the catalog, the same in all tasks; -1: padding
    classes: jax.Array | None = None  # (B, K) bool, outputs of the head of each example's task; None: one shared head
