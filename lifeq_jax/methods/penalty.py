"""The quadratic penalty around weights of earlier tasks, in constant memory for any number of tasks."""

import math
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import total, zeros_like
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import Method, TaskEnd
from lifeq_jax.methods.importance import Contribution, Probe, as_partial, estimator, mean


class Anchor(NamedTuple):
    """A diagonal quadratic: constant + sum_i importance_i (p_i - params_i)^2."""

    importance: PyTree
    params: PyTree
    constant: jax.Array  # () float32


def copy(tree: PyTree) -> PyTree:
    """Fresh arrays: a method's state and the parameters are donated together, so they must share no buffer."""
    return jax.tree.map(jnp.copy, tree)


def no_anchor(params: PyTree) -> Anchor:
    """The anchor before the first task ends: its quadratic is 0 everywhere."""
    return Anchor(zeros_like(params), zeros_like(params), jnp.zeros(()))


def weighted_distance(importance: PyTree, anchor: PyTree, params: PyTree) -> jax.Array:
    """sum_i F_i (p_i - a_i)^2, without the 1/2 of EWC eq. (3); as LifeQuant utils/lifelong.py."""
    return total(jax.tree.map(lambda f, a, p: f * jnp.square(p - a), importance, anchor, params))


def bounded(stiffness: PyTree, limit: float) -> PyTree:
    """s / (1 + s / limit) for every coefficient s of a quadratic penalty: about s where small, never above `limit`.

    Importances span many orders of magnitude, and SGD of rate r and momentum m diverges along a parameter whose
    coefficient exceeds (1 + m) / r. limit = inf changes nothing."""
    return jax.tree.map(lambda s: s / (1.0 + s / limit), stiffness)


def quadratic(anchor: Anchor, params: PyTree) -> jax.Array:
    """constant + `weighted_distance` of `params` from the anchor."""
    return anchor.constant + weighted_distance(anchor.importance, anchor.params, params)


def add_quadratic(anchor: Anchor, importance: PyTree, params: PyTree, decay: float) -> Anchor:
    """decay * quadratic(anchor, .) + sum F (. - params)^2 as one Anchor, for importances not below 0.

    F1 (p - a)^2 + F2 (p - b)^2 = F (p - c)^2 + F1 F2 / F (a - b)^2 with F = F1 + F2 and c the weighted mean."""
    old = jax.tree.map(lambda f: decay * f, anchor.importance)
    both = jax.tree.map(jnp.add, old, importance)
    share = jax.tree.map(
        lambda f, f_all: jnp.where(f_all > 0, f / jnp.where(f_all > 0, f_all, 1.0), 1.0), importance, both
    )
    # a + (b - a) is not always b in float32, and Adam would take full steps along such a rounding error
    center = jax.tree.map(lambda a, b, s: jnp.where(s == 1, b, a + s * (b - a)), anchor.params, params, share)
    rest = jax.tree.map(lambda f, s, a, b: f * s * jnp.square(a - b), old, share, anchor.params, params)
    return Anchor(both, center, decay * anchor.constant + total(rest))


def move_anchor(anchor: Anchor, importance: PyTree, params: PyTree, decay: float) -> Anchor:
    """Importances add up (the old ones times `decay`), the anchor is the newest point: online EWC, MAS."""
    both = jax.tree.map(lambda old, new: decay * old + new, anchor.importance, importance)
    return Anchor(both, copy(params), anchor.constant)


def replace_anchor(anchor: Anchor, importance: PyTree, params: PyTree, decay: float) -> Anchor:
    """Only the newest importance and point."""
    return Anchor(importance, copy(params), anchor.constant)


def decayed(decay: float, task: int) -> tuple[float, float]:
    """(decay, 1): weights of the old importance and of the new one in their sum."""
    del task
    return decay, 1.0


def averaged(decay: float, task: int) -> tuple[float, float]:
    """(t, 1) / (t + 1): the weights that make the sum the mean over tasks 0..t."""
    del decay
    return task / (task + 1), 1.0 / (task + 1)


class Accumulation(NamedTuple):
    """How a new importance joins those of earlier tasks, and from which data it is taken."""

    update: Callable[[Anchor, PyTree, PyTree, float], Anchor]
    loaders: slice  # of TaskEnd.loaders
    weights: Callable[[float, int], tuple[float, float]] = decayed  # (decay, task) -> of the old and new importance


HISTORIES: dict[str, Accumulation] = {
    "per_task": Accumulation(add_quadratic, slice(-1, None)),  # one quadratic per task, each around its own end
    "online": Accumulation(move_anchor, slice(-1, None)),  # one, around the newest point; old importances decay
    "averaged": Accumulation(move_anchor, slice(-1, None), averaged),  # the same; mean over tasks: BLIP
    "recomputed": Accumulation(replace_anchor, slice(None)),  # one, over the data of all tasks so far: the original
}


def check_strength(strength: float, key: str = "method.args.strength") -> float:
    """Returns `strength`; refuses what is not a finite number from 0 on."""
    if not 0 <= strength < float("inf"):
        raise Refusal(f"{key}={strength!r} is not a finite number from 0 on")
    return strength


def check_positive(value: float, key: str) -> float:
    """Returns `value`; refuses what is not a finite number above 0."""
    if not 0 < value < float("inf"):
        raise Refusal(f"{key}={value!r} is not a finite number above 0")
    return value


def check_share(value: float, key: str) -> float:
    """Returns `value`; refuses what is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise Refusal(f"{key}={value!r} is not a number from 0 to 1")
    return value


def probe_of(task: TaskEnd, quantized: bool, num_batches: int = 1) -> Probe:
    """The network at the end of `task`: at its quantized weights, or at the latent parameters behind them."""
    apply, point = (task.apply_weights, task.weights) if quantized else (task.apply, task.params)
    squares = as_partial(task.squares_weights if quantized else task.squares)
    return Probe(as_partial(apply), as_partial(task.head), point, task.counts, jnp.float32(num_batches), squares)


def anchored(
    contribution: Contribution,
    *,
    strength: float,
    history: str,
    decay: float = 1.0,
    quantized: bool = False,
    count_batches: bool = False,
    limit: float = math.inf,
) -> Method:
    """strength * quadratic(anchor, p): the shape that EWC, MAS, SCP and LifeQuant share. State: an Anchor whose
    importances and constant are multiplied by `strength`, so that the compiled step is the same for all strengths.

    `contribution` is averaged over the data that HISTORIES[history] names. With `quantized`, importance, anchor and
    distance are those of the quantized weights, otherwise of the latent parameters. `count_batches` makes one more pass
    over the data to fill Probe.num_batches. Stable under plain SGD while rate * 2 * strength * importance < 2."""
    strength = check_strength(strength)
    decay = check_share(decay, "method.args.decay")
    update, chosen, weights = lookup(HISTORIES, history, "method.args.history")
    estimate = estimator(contribution)

    def penalty(state: Anchor, params: PyTree, weights: PyTree) -> jax.Array:
        bound = state._replace(importance=bounded(state.importance, limit))
        return quadratic(bound, weights if quantized else params)

    def end_task(state: Anchor, task: TaskEnd) -> Anchor:
        loaders = task.loaders[chosen]
        num_batches = sum(1 for loader in loaders for _ in loader()) if count_batches else 1
        probe = probe_of(task, quantized, num_batches)
        batches = chain.from_iterable(loader() for loader in loaders)
        old, new = weights(decay, task.task)
        importance = jax.tree.map(lambda f: strength * new * f, mean(estimate(probe, batches, task.key)))
        return update(state, importance, probe.point, old)

    return Method(init=lambda start: no_anchor(start.params), penalty=penalty, end_task=end_task)
