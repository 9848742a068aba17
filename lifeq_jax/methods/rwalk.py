"""Riemannian walk."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.tree import zeros_like
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method, TaskEnd
from lifeq_jax.methods.importance import Sum, estimator, mean, squared_batch_gradients
from lifeq_jax.methods.path import PathState, add_step, gains, no_score, squared_distance
from lifeq_jax.methods.penalty import (
    check_positive,
    check_share,
    check_strength,
    copy,
    probe_of,
    weighted_distance,
)


def rwalk(strength: float = 1.0, eps: float = 0.1, decay: float = 0.6, clamp: bool = True) -> Method:
    """strength * sum (omega + F) (p - a)^2, omega = omega_old / 2 + W / (2 (F (p_end - p_start)^2 / 2 + eps)).

    F = moving average over the loaders, in the order of the tasks: F <- decay F + (1 - decay) sum over the loader's
    batches of (gradient of the batch-mean cross-entropy)^2 / number of batches of all loaders, recomputed at each
    task's end. Source: Chaudhry et al., ECCV 2018, with the scaling of LifeQuant's `rwalk`. `clamp` sets negative W
    to 0 as the paper does; clamp=False is LifeQuant's.

    Args:
        strength: finite, 0 or more.
        eps: damping, above 0.
        decay: of the moving average F, in [0, 1].
        clamp: see above.

    Example:
        >>> method = lq.methods.rwalk(eps=0.01)
        >>> float(method.penalty(method.init(lq.StageStart({"w": np.float32(1)}, 1, 2)), {"w": 3.0}, {"w": 3.0}))
        0.0
    """
    strength, eps = check_strength(strength), check_positive(eps, "method.args.eps")
    decay = check_share(decay, "method.args.decay")
    estimate = estimator(squared_batch_gradients(LOSSES["cross_entropy"]()))

    def fisher_of(task: TaskEnd) -> PyTree:
        running = Sum(zeros_like(task.params), jnp.zeros(()))
        for index, loader in enumerate(task.loaders):
            new = estimate(probe_of(task, quantized=False), loader(), jax.random.fold_in(task.key, index))
            total = jax.tree.map(lambda old, g: decay * old + (1 - decay) * g, running.total, new.total)
            running = Sum(total, running.size + new.size)
        return mean(running)

    def penalty(state: PathState, params: PyTree, weights: PyTree) -> jax.Array:
        importance = jax.tree.map(jnp.add, state.score, state.fisher)
        return weighted_distance(importance, state.params, params)

    def end_task(state: PathState, task: TaskEnd) -> PathState:
        fisher = fisher_of(task)
        moved = squared_distance(task.params, state.params)
        score = jax.tree.map(
            lambda o, w, f, d: 0.5 * o + strength * 0.5 * w / (0.5 * f * d + eps),
            state.score,
            gains(state.path, clamp),
            fisher,
            moved,
        )
        stiffness = jax.tree.map(lambda f: strength * f, fisher)
        return PathState(zeros_like(task.params), score, stiffness, copy(task.params))

    return Method(init=lambda start: no_score(start.params), penalty=penalty, observe=add_step, end_task=end_task)
