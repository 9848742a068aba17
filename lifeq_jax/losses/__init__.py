"""Losses of single examples by name: (logits (B, K), label (B,), counts (K,)) -> (B,) in nats."""

from collections.abc import Callable

import jax

from lifeq_jax.losses import balanced
from lifeq_jax.losses.classify import cross_entropy

Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

LOSSES: dict[str, Loss] = {
    "cross_entropy": lambda logits, label, counts: cross_entropy(logits, label),
    "ball_log_prior": balanced.log_prior,
    "ball_shift": balanced.shift,
    "ball_scale": balanced.scale,
}
