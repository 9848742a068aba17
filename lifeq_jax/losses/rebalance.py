"""Losses that give rare classes more: class-balanced, focal, LDAM with deferred re-weighting, logit adjustment.

Class sizes come as `Examples.counts`; a class without images makes nothing infinite and weighs 0. Weights add up to
the number of classes that have images. The mean over a batch divides by its examples, not by their weights."""

import math

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.classify import cross_entropy_of_labels


def class_balanced(beta: float = 0.999) -> Loss:
    """w_y CE with w_c = (1 - beta) / (1 - beta^n_c), scaled to add up to the number of classes with images.

    Source: Cui et al., CVPR 2019, eq. (10), softmax cross-entropy; the paper tries beta 0.9, 0.99, 0.999, 0.9999.

    Args:
        beta: in (0, 1): toward 0 all weights are 1, toward 1 they are proportional to 1 / n_c.

    Example:
        >>> lq.losses.class_balanced(beta=0.99)(examples).shape
        (2,)
    """
    log_beta = checked_log_beta(beta)

    def loss(examples: Examples) -> jax.Array:
        weights = effective_weights(examples.counts, log_beta)
        return weights[examples.label] * cross_entropy_of_labels(examples.logits, examples.label)

    return loss


def focal(gamma: float = 2.0) -> Loss:
    """(1 - p_y)^gamma CE: well-classified examples count less.

    Source: Lin et al., ICCV 2017, eq. (4), with the softmax in place of the sigmoid. It uses no class sizes.

    Args:
        gamma: 0 or more; 0 is the cross-entropy.

    Example:
        >>> lq.losses.focal(gamma=1.0)(examples).shape
        (2,)
    """
    check(gamma, "loss.args.gamma", 0 <= gamma < math.inf, "a finite number from 0 on")

    def loss(examples: Examples) -> jax.Array:
        rest = jnp.take_along_axis(log_complement(examples.logits), examples.label.reshape(-1, 1), axis=-1)[:, 0]
        return jnp.exp(gamma * rest) * cross_entropy_of_labels(examples.logits, examples.label)

    return loss


def ldam(max_margin: float = 0.5, scale: float = 1.0, defer: float = 0.8, beta: float = 0.9999) -> Loss:
    """CE of scale (z - margin_y one_hot(y)), margin_c proportional to n_c^(-1/4), the largest max_margin; LDAM-DRW.

    From the share `defer` of the task on (examples.progress, 0..1) the loss also has the weights of `class_balanced`
    with `beta`; with defer=1 it never has. Source: Cao et al., NeurIPS 2019, eq. (13) and algorithm 1.

    The authors' logits are cosines in [-1, 1], which need scale 30 to become confident; a margin of 0.5 is then 15
    nats. The heads here are linear and their logits unbounded: with scale 1 a margin is in nats, and scale 30 would
    only multiply the first gradients by 30. A larger max_margin makes this loss stronger.

    Args:
        max_margin: margin of the smallest class, 0 or more.
        scale: factor of the logits, above 0.
        defer: share of the task, 0 to 1.
        beta: as in `class_balanced`.

    Example:
        >>> lq.losses.ldam(max_margin=1.0)(examples).shape
        (2,)
    """
    check(max_margin, "loss.args.max_margin", 0 <= max_margin < math.inf, "a finite number from 0 on")
    check(scale, "loss.args.scale", 0 < scale < math.inf, "a finite number above 0")
    check(defer, "loss.args.defer", 0 <= defer <= 1, "a number from 0 to 1")
    log_beta = checked_log_beta(beta)

    def loss(examples: Examples) -> jax.Array:
        label, counts = examples.label, examples.counts
        own = label.reshape(-1, 1) == jnp.arange(len(counts)).reshape(1, -1)
        logits = examples.logits - own * margins(counts, max_margin).reshape(1, -1)
        weights = jnp.where(examples.progress >= defer, effective_weights(counts, log_beta), 1.0)
        return weights[label] * cross_entropy_of_labels(scale * logits, label)

    return loss


def logit_adjustment(tau: float = 1.0) -> Loss:
    """CE of z + tau log(n_c / N), n_c at least 1.

    In training a rare class must win by a margin; at test time plain logits are compared. Source: Menon et al., ICLR
    2021, eq. (10).

    Args:
        tau: 0 or more; 1 is Balanced Softmax (`balanced.log_prior`), 0 the cross-entropy.

    Example:
        >>> lq.losses.logit_adjustment(tau=0.5)(examples).shape
        (2,)
    """
    check(tau, "loss.args.tau", 0 <= tau < math.inf, "a finite number from 0 on")

    def loss(examples: Examples) -> jax.Array:
        prior = tau * jnp.log(jnp.maximum(examples.counts, 1.0))  # N drops out of the softmax
        return cross_entropy_of_labels(examples.logits + prior.reshape(1, -1), examples.label)

    return loss


def effective_weights(counts: jax.Array, log_beta: jax.Array | float) -> jax.Array:
    """(1 - beta) / (1 - beta^n), scaled to add up to the number of classes with images; 0 for a class without.

    counts (K,) float, log_beta () or (K,) below 0 -> weights (K,), dimensionless. Holds: accurate for beta next to 1,
    where 1 - beta in float32 is not."""
    present = counts > 0
    raw = jnp.expm1(log_beta) / jnp.expm1(jnp.where(present, counts, 1.0) * log_beta)
    raw = jnp.where(present, raw, 0.0)
    total = jnp.sum(raw)
    return raw * (jnp.sum(present) / jnp.where(total > 0, total, 1.0))


def margins(counts: jax.Array, largest: float) -> jax.Array:
    """Margins proportional to n^(-1/4), the smallest class having `largest`; 0 without images: (K,) -> (K,)."""
    present = counts > 0
    raw = jnp.where(present, jnp.where(present, counts, 1.0) ** -0.25, 0.0)
    top = jnp.max(raw)
    return largest * raw / jnp.where(top > 0, top, 1.0)


def log_complement(logits: jax.Array) -> jax.Array:
    """log(1 - softmax(logits)), (B, K) -> (B, K), K at least 2, in nats.

    Holds: finite with a finite gradient for any finite logits, also where the softmax rounds to 1."""
    top = jnp.argmax(logits, axis=-1).reshape(-1, 1) == jnp.arange(logits.shape[-1]).reshape(1, -1)
    others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, logits), axis=-1) - jax.nn.logsumexp(logits, axis=-1)
    share = jnp.where(top, 0.0, jax.nn.softmax(logits))  # of all but the largest, so at most 1/2
    return jnp.where(top, others.reshape(-1, 1), jnp.log1p(-share))


def checked_log_beta(beta: float) -> float:
    """log(beta); refuses what is not between 0 and 1, both excluded."""
    check(beta, "loss.args.beta", 0 < beta < 1, "a number between 0 and 1, both excluded")
    return math.log(beta)


def check(value: float, key: str, holds: bool, wanted: str) -> None:
    """Refuses `value` unless `holds`, naming the key, the value and what is wanted."""
    if not holds:
        raise Refusal(f"{key}={value!r} is not {wanted}")
