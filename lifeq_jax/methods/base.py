"""The record of functions that a continual-learning method is."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.base import Examples, Loss


class FloatNetwork(NamedTuple):
    """A trained network at 32 bits."""

    params: PyTree
    batch_stats: PyTree
    num_tasks: int | jax.Array  # it has been trained on tasks 0..num_tasks - 1


class StageStart(NamedTuple):
    """What `init` sees when a stage begins. All but the parameters is the same for every seed."""

    params: PyTree
    num_tasks: int  # tasks of the stage
    num_classes: int  # K, outputs of all heads together
    num_rows: int = 0  # images of the catalog, which bounds Batch.index; 0: batches come from no catalog
    num_kept: int = 0  # upper bound on the rows that the loaders of all tasks' TaskEnd yield together
    float_network: FloatNetwork | None = None  # of the last float stage, else of the run's start weights


class StepInfo(NamedTuple):
    """What `observe` sees of one training step."""

    params: PyTree  # before the step
    new_params: PyTree  # after it
    grads: PyTree  # of the mean of `example_loss`, without the penalty, at `params`
    progress: jax.Array  # share of the task that is done after the step, 0..1


class Outputs(NamedTuple):
    """What a network returns."""

    logits: jax.Array  # (B, K), of all heads
    feature: jax.Array  # (B, F), the input of the head


Evaluate = Callable[[PyTree, jax.Array], Outputs]
"""(params, image) -> outputs in evaluation mode, with the running statistics as they are now"""


class Forward(NamedTuple):
    """A training batch and the network's outputs on it; with several devices, one device's part of both."""

    batch: Batch
    outputs: Outputs  # of all heads
    examples: Examples  # the argument of losses, with the logits of each example's own head
    evaluate: Evaluate


Squares = Callable[[PyTree, jax.Array, Callable[[Outputs], jax.Array], jax.Array], PyTree | None]
"""(params, image (B, H, W, C), values, weight (B,)) -> sum_b weight_b (d value_b / d p)^2 over the examples b, a tree
like params, in evaluation mode; values: outputs -> (B,), each of its own example's. None: this network cannot tell"""


def no_squares(
    params: PyTree, image: jax.Array, values: Callable[[Outputs], jax.Array], weight: jax.Array
) -> PyTree | None:
    """The `Squares` of a network without per-example squared gradients."""
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


class Method(NamedTuple):
    """A continual-learning method: pure functions whose defaults do nothing.

    Its state is a pytree of fixed shapes in the train state, so nothing is retraced when a task begins. When a task has
    been trained, `end_task` updates the state, `settle` returns the parameters that are evaluated and that training
    continues from, and `measure` returns numbers about them, by leaf and quantity, for layers.csv.
    `gradients` is the first link of the optax chain and `constraint` the last; both get as extra arguments
    `method_state=`, `progress=`, `quantized=` (a tree of bools like the parameters: which leaves a quantizer acts on),
    `batch=`, `batch_gradient=`, the gradient of the weighted mean of `example_loss` over all devices, and
    `gradient_of=`, that gradient as a function of other weights (B,) of the examples, which costs a pass backward."""

    init: Callable[[StageStart], PyTree] = lambda start: ()
    penalty: Callable[[PyTree, PyTree, PyTree], jax.Array] = lambda state, params, weights: jnp.zeros(())
    """(state, params, weights) -> what is added to the mean loss, ()"""
    example_loss: Callable[[PyTree, Loss, Forward], jax.Array] = lambda state, loss, forward: loss(forward.examples)
    """(state, the recipe's loss, forward) -> (B,) nats, whose weighted mean the step minimizes. Gradients flow through
    `forward.outputs` and `forward.examples`. It may call `loss` on other logits, weigh its values, or add to them"""
    observe: Callable[[PyTree, StepInfo], PyTree] = lambda state, step: state
    end_task: Callable[[PyTree, TaskEnd], PyTree] = lambda state, task: state
    settle: Callable[[PyTree, PyTree], PyTree] = lambda state, params: params
    measure: Callable[[PyTree, PyTree], dict[str, dict[str, jax.Array]]] = lambda state, params: {}
    concludes: bool = False
    """True: run `end_task` and `settle` after the stage's last task too (BLIP, IMM change the weights). False: skip
    them there; no later task would use the result."""
    needs_replay: bool = False  # whether it has no effect without replayed images
    gradients: optax.GradientTransformationExtraArgs = optax.with_extra_args_support(optax.identity())
    constraint: optax.GradientTransformationExtraArgs = optax.with_extra_args_support(optax.identity())

    @property
    def is_idle_at_first(self) -> bool:
        """Whether a single task trains as with fine-tuning: no own links, and no work after the last task. (The common
        tests assert for every row of METHODS that `penalty`, and what `example_loss` adds, are 0 until `end_task`.)"""
        plain = Method()
        return self.gradients is plain.gradients and self.constraint is plain.constraint and not self.concludes
