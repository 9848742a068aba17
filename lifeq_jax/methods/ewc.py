"""Elastic weight consolidation."""

from lifeq_jax.core.lookup import lookup
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.importance import FISHERS
from lifeq_jax.methods.penalty import anchored


def ewc(strength: float = 100.0, fisher: str = "empirical", history: str = "per_task", decay: float = 1.0) -> Method:
    """strength * sum F (p - a)^2 with F a diagonal Fisher of the cross-entropy in the latent parameters.

    `fisher`: row of importance.FISHERS. `history`: per_task (Kirkpatrick et al., PNAS 2017: a sum over tasks, each with
    its own anchor, held in constant memory), online (Schwarz et al., ICML 2018: F = decay F + F_new around the newest
    parameters), averaged (F the mean over tasks, around the newest parameters) or recomputed (one F over the data of
    all tasks so far); `decay` is of the first two. LifeQuant's `ewc` is fisher="batch", history="recomputed"; BLIP's is
    fisher="batch", history="averaged" with 10 times its lamb as strength: its Fisher has a factor 20, its penalty a
    factor 1/2. BLIP's agents have fisher="sampled_batch", history="online" (or per_task) and half of its lambda, 5000,
    as strength. No factor 1/2 here."""
    contribution = lookup(FISHERS, fisher, "method.args.fisher")(LOSSES["cross_entropy"]())
    return anchored(contribution, strength=strength, history=history, decay=decay)
