"""Incremental moment matching, by modes, with L2 transfer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.tree import total
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method, TaskEnd
from lifeq_jax.methods.importance import estimator, mean, squared_batch_gradients
from lifeq_jax.methods.path import squared_distance
from lifeq_jax.methods.penalty import Anchor, add_quadratic, check_strength, copy, no_anchor, probe_of

UNSEEN = {"newest": 1.0, "zero": 0.0}  # factor of a parameter whose Fisher is 0 in all tasks


class Mode(NamedTuple):
    """The merged parameters of the finished tasks."""

    merged: Anchor  # sum of their Fishers, and the parameters
    stiffness: jax.Array  # () float32, strength / 2; 0 before the first task has ended


def imm(strength: float = 0.01, unseen: str = "newest") -> Method:
    """Merges to sum F_t p_t / sum F_t when a task ends, F_t its Fisher at its own end p_t. State: a Mode.

    This is the mode of the product of the tasks' Laplace approximations. The network is evaluated at the merged
    parameters and training continues from them, with the penalty strength / 2 * sum (p - merged)^2 (L2 transfer). F is
    the squared batch gradient, as in EWC of BLIP, whose factor cancels. `unseen`: the value of a parameter whose
    Fishers are all 0, as in the heads of later tasks: newest keeps it, zero is the original's formula. Batch norm's
    running statistics are those of the unmerged network unless `reestimation_batches` estimates them again. Source: Lee
    et al. (NeurIPS 2017), with the constants of BLIP approaches/imm_mode.py, which never writes the merged parameters
    back.

    Args:
        strength: finite, 0 or more.
        unseen: newest or zero, see above.

    Example:
        >>> lq.methods.imm(strength=1.0).concludes
        True
    """
    strength = check_strength(strength)
    kept = lookup(UNSEEN, unseen, "method.args.unseen")
    estimate = estimator(squared_batch_gradients(LOSSES["cross_entropy"]()))

    def penalty(state: Mode, params: PyTree, weights: PyTree) -> jax.Array:
        return state.stiffness * total(squared_distance(params, state.merged.params))

    def end_task(state: Mode, task: TaskEnd) -> Mode:
        fisher = mean(estimate(probe_of(task, quantized=False), task.loaders[-1](), task.key))
        merged = add_quadratic(state.merged, fisher, task.params, decay=1.0)
        params = jax.tree.map(
            lambda f, p, new: jnp.where(f > 0, p, kept * new), merged.importance, merged.params, task.params
        )
        return Mode(merged._replace(params=params), jnp.float32(strength / 2))

    return Method(
        init=lambda start: Mode(no_anchor(start.params), jnp.zeros(())),
        penalty=penalty,
        end_task=end_task,
        settle=lambda state, params: copy(state.merged.params),
        concludes=True,
    )
