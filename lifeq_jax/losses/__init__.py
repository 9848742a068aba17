"""Losses by name: makers of functions from `Examples` to one value an example, in nats."""

from collections.abc import Callable

import jax

from lifeq_jax.losses import balanced, classify, homovar, rebalance
from lifeq_jax.losses.base import Loss


def _of(values: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]) -> Callable[[], Loss]:
    return lambda: lambda examples: values(examples.logits, examples.label, examples.counts)


LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": _of(lambda logits, label, counts: classify.cross_entropy(logits, label)),
    "ball_log_prior": _of(balanced.log_prior),
    "ball_shift": _of(balanced.shift),
    "ball_scale": _of(balanced.scale),
    "balanced_softmax": _of(balanced.log_prior),  # the same formula under its first name
    "class_balanced": rebalance.class_balanced,
    "focal": rebalance.focal,
    "homovar": homovar.homovar,
    "ldam": rebalance.ldam,
    "logit_adjustment": rebalance.logit_adjustment,
}

globals().update(LOSSES)  # its rows by name: lifeq_jax.losses.focal()
