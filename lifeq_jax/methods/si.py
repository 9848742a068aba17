"""Synaptic intelligence."""

import jax

from lifeq_jax.core.tree import zeros_like
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import Method, TaskEnd
from lifeq_jax.methods.path import PathState, add_step, gains, no_score, squared_distance
from lifeq_jax.methods.penalty import check_positive, check_strength, copy, weighted_distance


def si(strength: float = 1.0, eps: float = 0.1, clamp: bool = True) -> Method:
    """strength * sum omega (p - a)^2, omega += W / ((p_end - p_start)^2 + eps) at each task's end, a = p_end.

    Source: Zenke et al., ICML 2017, eq. (4) and (5); `eps` is its damping xi. W comes from the training steps, so no
    data is read after a task. `clamp` sets negative W to 0. clamp=False is LifeQuant's `si` as its class intends it (in
    its training script W stays 0); the penalty can then be negative.

    Args:
        strength: finite, 0 or more.
        eps: damping, above 0.
        clamp: see above.

    Example:
        >>> method = lq.methods.si(eps=0.01)
        >>> float(method.penalty(method.init(lq.StageStart({"w": np.float32(1)}, 1, 2)), {"w": 3.0}, {"w": 3.0}))
        0.0
    """
    strength, eps = check_strength(strength), check_positive(eps, "method.args.eps")

    def penalty(state: PathState, params: PyTree, weights: PyTree) -> jax.Array:
        return weighted_distance(state.score, state.params, params)

    def end_task(state: PathState, task: TaskEnd) -> PathState:
        moved = squared_distance(task.params, state.params)
        score = jax.tree.map(lambda o, w, d: o + strength * w / (d + eps), state.score, gains(state.path, clamp), moved)
        return PathState(zeros_like(task.params), score, state.fisher, copy(task.params))

    return Method(init=lambda start: no_score(start.params), penalty=penalty, observe=add_step, end_task=end_task)
