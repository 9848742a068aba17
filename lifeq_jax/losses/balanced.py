"""BaLL, the balanced loss of LifeQuant (ICCV 2023), in its three variants.

The class sizes come as `counts`, (K,) float: the images of each class in the data being trained on. A class without
images never divides by zero and never makes a loss infinite. `counts` may be traced: a new task retraces nothing."""

import jax
import jax.numpy as jnp

from lifeq_jax.losses.classify import cross_entropy_of_labels


def ball_weights(counts: jax.Array) -> jax.Array:
    """w_c = 1 / ((n_c / N + 1 / C) C), with N images and C classes present; 1 for an absent class.

    counts (K,) -> weights (K,), dimensionless, in (0, 1]: the smaller the class, the larger its weight. A set of equal
    classes has w = 1/2. Source: LifeQuant count_classes.py."""
    present = counts > 0
    num_classes = jnp.maximum(jnp.sum(present), 1)
    share = counts / jnp.maximum(jnp.sum(counts), 1)
    return jnp.where(present, 1.0 / ((share + 1.0 / num_classes) * num_classes), 1.0)


def log_prior(logits: jax.Array, label: jax.Array, counts: jax.Array) -> jax.Array:
    """-log(s_y e^z_y / sum_k s_k e^z_k), s = max(counts, 1): logits (B, K), label (B,), counts (K,) -> (B,) nats.

    Holds: equal counts give the cross-entropy. In training a rare class must win by a margin; at test time plain logits
    are compared. Source: the LifeQuant paper's figure; first published as Balanced Softmax, Ren et al., NeurIPS 2020.
    """
    prior = jnp.log(jnp.maximum(counts, 1.0)).reshape(1, -1)
    return cross_entropy_of_labels(logits + prior, label)


def shifted_cross_entropy(logits: jax.Array, label: jax.Array, weights: jax.Array) -> jax.Array:
    """Cross-entropy of z + softmax(z) w: logits (B, K), label (B,), weights (K,) -> (B,) nats.

    The gradient flows through the softmax too. Source: LifeQuant resnet-20-cifar-100 utils/lifelong.py."""
    return cross_entropy_of_labels(logits + jax.nn.softmax(logits) * weights.reshape(1, -1), label)


def scaled_cross_entropy(logits: jax.Array, label: jax.Array, weights: jax.Array) -> jax.Array:
    """Cross-entropy of z w: logits (B, K), label (B,), weights (K,) -> (B,) nats.

    Source: LifeQuant mobilenet-v2-cifar-100 utils/lifelong.py."""
    return cross_entropy_of_labels(logits * weights.reshape(1, -1), label)


def shift(logits: jax.Array, label: jax.Array, counts: jax.Array) -> jax.Array:
    """`shifted_cross_entropy` with the weights of `counts`: (B, K), (B,), (K,) -> (B,) nats."""
    return shifted_cross_entropy(logits, label, ball_weights(counts))


def scale(logits: jax.Array, label: jax.Array, counts: jax.Array) -> jax.Array:
    """`scaled_cross_entropy` with the weights of `counts`: (B, K), (B,), (K,) -> (B,) nats."""
    return scaled_cross_entropy(logits, label, ball_weights(counts))
