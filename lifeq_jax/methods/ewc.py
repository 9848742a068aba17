"""Elastic weight consolidation."""

from lifeq_jax.core.lookup import lookup
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.importance import FISHERS
from lifeq_jax.methods.penalty import anchored


def ewc(strength: float = 100.0, fisher: str = "empirical", history: str = "per_task", decay: float = 1.0) -> Method:
    """strength * sum F (p - a)^2, F a diagonal Fisher of the cross-entropy in the latent parameters; no factor 1/2.

    LifeQuant's `ewc` is fisher="batch", history="recomputed". BLIP's is fisher="batch", history="averaged", with 10
    times its lamb as strength: its Fisher has a factor 20, its penalty a factor 1/2. BLIP's agents have
    fisher="sampled_batch", history="online" (or per_task) and half of its lambda, 5000, as strength. State: an Anchor.

    Args:
        strength: finite, 0 or more.
        fisher: row of importance.FISHERS.
        history: per_task (Kirkpatrick et al., PNAS 2017: a sum over tasks, each with its own anchor, in constant
            memory), online (Schwarz et al., ICML 2018: F = decay F + F_new around the newest parameters), averaged (F
            the mean over tasks, around the newest parameters) or recomputed (one F over the data of all tasks so far).
        decay: of the old importances, in [0, 1]; for per_task and online.

    Example:
        >>> method = lq.methods.ewc(strength=10.0)
        >>> float(method.penalty(method.init(lq.StageStart({"w": 1.0}, 1, 2)), {"w": 3.0}, {"w": 3.0}))
        0.0
    """
    contribution = lookup(FISHERS, fisher, "method.args.fisher")(LOSSES["cross_entropy"]())
    return anchored(contribution, strength=strength, history=history, decay=decay)
