"""The path integral of SI and RWalk: how much each parameter's own movement lowered the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.tree import zeros_like
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import StepInfo


class Score(NamedTuple):
    """What SI and RWalk carry."""

    path: PyTree  # W of the task being trained, nats
    score: PyTree  # omega of the finished tasks
    fisher: PyTree  # of the finished tasks; stays 0 in SI
    params: PyTree  # at the end of the last task; of `init` before that


def no_score(params: PyTree) -> Score:
    """The state at the start of the first task, which starts at `params`."""
    return Score(zeros_like(params), zeros_like(params), zeros_like(params), jax.tree.map(jnp.copy, params))


def add_step(state: Score, step: StepInfo) -> Score:
    """W - g (p_new - p) for one step: to first order the loss that each parameter's movement took away.

    `g` is the gradient of the task loss alone. The original (LifeQuant `si`, `rwalk`) reads it when it has just been
    set to zero, so that its W stays 0."""
    moved = jax.tree.map(
        lambda w, g, new, old: w - g * (new - old), state.path, step.grads, step.new_params, step.params
    )
    return state._replace(path=moved)


def squared_distance(params: PyTree, anchor: PyTree) -> PyTree:
    """(p - a)^2 elementwise."""
    return jax.tree.map(lambda p, a: jnp.square(p - a), params, anchor)


def gains(path: PyTree, clamp: bool) -> PyTree:
    """W, with its negative entries at 0 when `clamp`: a parameter that raised the loss is not pushed away."""
    return jax.tree.map(lambda w: jnp.maximum(w, 0.0), path) if clamp else path
