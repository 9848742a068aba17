"""Losses by name: makers of functions from `Examples` to one value per example, in nats.

A maker refuses an argument that is out of range or not one of its choices."""

from collections.abc import Callable

from lifeq_jax.losses import balanced, classify, homovar, rebalance
from lifeq_jax.losses.base import Loss


def cross_entropy() -> Loss:
    """Softmax cross-entropy, `classify.cross_entropy_of_labels`.

    Example:
        >>> [round(float(value), 3) for value in lq.losses.cross_entropy()(examples)]
        [0.288, 0.693]
    """
    return lambda examples: classify.cross_entropy_of_labels(examples.logits, examples.label)


def ball_log_prior() -> Loss:
    """BaLL of the LifeQuant paper's figure, also called Balanced Softmax: `balanced.log_prior`.

    Example:
        >>> [round(float(value), 3) for value in lq.losses.ball_log_prior()(examples)]
        [0.105, 1.386]
    """
    return lambda examples: balanced.log_prior(examples.logits, examples.label, examples.counts)


def ball_shift() -> Loss:
    """BaLL of LifeQuant's ResNet-20, cross-entropy of z + softmax(z) w: `balanced.shift`.

    Example:
        >>> lq.losses.ball_shift()(examples).shape
        (2,)
    """
    return lambda examples: balanced.shift(examples.logits, examples.label, examples.counts)


def ball_scale() -> Loss:
    """BaLL of LifeQuant's MobileNetV2, cross-entropy of z w: `balanced.scale`.

    Example:
        >>> lq.losses.ball_scale()(examples).shape
        (2,)
    """
    return lambda examples: balanced.scale(examples.logits, examples.label, examples.counts)


LOSSES: dict[str, Callable[..., Loss]] = {
    "cross_entropy": cross_entropy,
    "ball_log_prior": ball_log_prior,
    "ball_shift": ball_shift,
    "ball_scale": ball_scale,
    "balanced_softmax": ball_log_prior,  # the same formula, by the name of the paper that introduced it
    "class_balanced": rebalance.class_balanced,
    "focal": rebalance.focal,
    "homovar": homovar.homovar,
    "ldam": rebalance.ldam,
    "logit_adjustment": rebalance.logit_adjustment,
}

globals().update(LOSSES)  # its rows by name: lifeq_jax.losses.focal()
