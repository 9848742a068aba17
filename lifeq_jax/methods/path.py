"""The path integral of SI and RWalk: how much each parameter's own movement lowered the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.tree import zeros_like
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import StepInfo


class PathState(NamedTuple):
    """The state of SI and RWalk; score and fisher are multiplied by the method's strength, so that the compiled step is
    the same for all strengths."""

    path: PyTree  # W of the task being trained, nats
    score: PyTree  # omega of the finished tasks
    fisher: PyTree  # of the finished tasks; stays 0 in SI
    params: PyTree  # at the end of the last task; of `init` before that


def no_score(params: PyTree) -> PathState:
    """The state before the first task, which starts at `params`."""
    return PathState(zeros_like(params), zeros_like(params), zeros_like(params), jax.tree.map(jnp.copy, params))


def add_step(state: PathState, step: StepInfo) -> PathState:
    """W - g (p_new - p) for one step: to first order, the decrease of the loss due to each parameter's change.

    `g` is the gradient of the task loss alone. The original (LifeQuant `si`, `rwalk`) reads it just after it has been
    set to zero, so its W stays 0."""
    moved = jax.tree.map(
        lambda w, g, new, old: w - g * (new - old), state.path, step.grads, step.new_params, step.params
    )
    return state._replace(path=moved)


def squared_distance(params: PyTree, anchor: PyTree) -> PyTree:
    """(p - a)^2 elementwise."""
    return jax.tree.map(lambda p, a: jnp.square(p - a), params, anchor)


def gains(path: PyTree, clamp: bool) -> PyTree:
    """W, with negative entries set to 0 if `clamp`, so that the penalty is never negative."""
    return jax.tree.map(lambda w: jnp.maximum(w, 0.0), path) if clamp else path
