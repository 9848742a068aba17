"""Memory-aware synapses."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.types import Batch
from lifeq_jax.losses.classify import of_head, weighted_mean
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.importance import Probe, absolute_objective
from lifeq_jax.methods.penalty import anchored


def squared_output(probe: Probe, batch: Batch, key: jax.Array) -> jax.Array:
    """The mean over the batch of sum_c z_c^2."""
    logits = of_head(probe.apply(probe.point, batch.image).logits, batch.classes, out=0.0)
    return weighted_mean(jnp.sum(jnp.square(logits), axis=-1), batch.weight)


def mas(strength: float = 1.0, history: str = "online", decay: float = 1.0) -> Method:
    """strength * sum O (p - a)^2, O = mean over batches of |d squared_output / d p|. Uses no labels.

    `history` online is the paper's (Aljundi et al., ECCV 2018: importances add up); LifeQuant's `mas` is recomputed.
    The absolute value is that of the batch's gradient, as in LifeQuant; the paper takes that of each example's.

    Args:
        strength: finite, 0 or more.
        history: per_task, online, averaged or recomputed, as in `ewc`.
        decay: of the old importances, in [0, 1].

    Example:
        >>> method = lq.methods.mas(strength=2.0)
        >>> float(method.penalty(method.init(lq.StageStart({"w": np.float32(1)}, 1, 2)), {"w": 3.0}, {"w": 3.0}))
        0.0
    """
    return anchored(absolute_objective(squared_output), strength=strength, history=history, decay=decay)
