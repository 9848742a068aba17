"""The record that a continual-learning method is."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.types import Batch, PyTree


class StepInfo(NamedTuple):
    """What `observe` sees of one training step."""

    params: PyTree  # before the step
    new_params: PyTree  # after it
    grads: PyTree  # of the task loss and the method's batch loss, without its penalty, at `params`
    progress: jax.Array  # share of the task that is done after the step, 0..1


class Outputs(NamedTuple):
    """What a network returns."""

    logits: jax.Array  # (B, K), of all heads
    feature: jax.Array  # (B, F), the input of the head


Evaluate = Callable[[PyTree, jax.Array], Outputs]
"""(params, image) -> outputs in evaluation mode, with the running statistics as they are now"""

Squares = Callable[[PyTree, jax.Array, Callable[[Outputs], jax.Array], jax.Array], PyTree | None]
"""(params, image (B, H, W, C), values, weight (B,)) -> sum_b weight_b (d value_b / d p)^2 over the examples b, a tree
like params, in evaluation mode; values: outputs -> (B,), each of its own example's. None: this network cannot tell"""


def no_squares(
    params: PyTree, image: jax.Array, values: Callable[[Outputs], jax.Array], weight: jax.Array
) -> PyTree | None:
    """The `Squares` of a network that knows none."""
    return None


class TaskEnd(NamedTuple):
    """What `end_task` sees when task `task` has been trained."""

    task: int
    params: PyTree
    weights: PyTree  # params with every quantized kernel replaced by its quantized value
    apply: Evaluate
    apply_weights: Evaluate  # of (weights, image), no weight quantizer inside
    head: Callable[[PyTree, jax.Array], jax.Array]  # (params or weights, feature) -> logits
    loaders: tuple[Callable[[], Iterable[Batch]], ...]  # one per finished task 0..task, training data only
    counts: jax.Array  # (K,) float32, images of each class in the data that task `task` trained on
    key: jax.Array
    squares: Squares = no_squares  # of params
    squares_weights: Squares = no_squares  # of weights


def _no_loss(state: PyTree, batch: Batch, logits: jax.Array, evaluate: Evaluate) -> jax.Array:
    return jnp.zeros(())


class Method(NamedTuple):
    """A continual-learning method: small pure functions with harmless defaults.

    Its state is a pytree of fixed shapes that lives in the train state, so nothing is retraced when a task begins.
    When a task has been trained, `end_task` looks back at it, `settle` gives the parameters that the network goes on
    with (they are what is evaluated), and `measure` tells of them, by leaf and quantity, for layers.csv.
    `gradients` is the first link of the optax chain and `constraint` the last; both get `method_state=`, `progress=`
    and `quantized=` (a tree of bools like the parameters: which leaves a quantizer acts on) as extra arguments."""

    init: Callable[[PyTree], PyTree] = lambda params: ()
    penalty: Callable[[PyTree, PyTree, PyTree], jax.Array] = lambda state, params, weights: jnp.zeros(())
    batch_loss: Callable[[PyTree, Batch, jax.Array, Evaluate], jax.Array] = _no_loss
    """(state, batch, logits (B, K) of all heads, evaluate) -> a further loss of the batch, differentiated through
    `logits` alone"""
    observe: Callable[[PyTree, StepInfo], PyTree] = lambda state, step: state
    end_task: Callable[[PyTree, TaskEnd], PyTree] = lambda state, task: state
    settle: Callable[[PyTree, PyTree], PyTree] = lambda state, params: params
    measure: Callable[[PyTree, PyTree], dict[str, dict[str, jax.Array]]] = lambda state, params: {}
    concludes: bool = False  # whether all that is due after the last task of a stage too, which nothing follows
    gradients: optax.GradientTransformationExtraArgs = optax.with_extra_args_support(optax.identity())
    constraint: optax.GradientTransformationExtraArgs = optax.with_extra_args_support(optax.identity())
