"""Learning without forgetting."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses.base import Loss
from lifeq_jax.methods.base import Forward, Method, StageStart, TaskEnd
from lifeq_jax.methods.penalty import check_positive, check_strength, copy

EPS = 1e-5  # spread over the outputs of a head, so that no probability has an infinite logarithm


class Teacher(NamedTuple):
    """The network at the end of the last task."""

    params: PyTree  # of `init` before the first task has ended
    head: jax.Array  # (K,) int32, finished task (counted from 1) whose head has the output; 0: none
    strength: jax.Array  # () float32; all strengths share one compiled step


def softmax_of_heads(logits: jax.Array, head: jax.Array) -> jax.Array:
    """The softmax of logits (B, K) over the outputs of each head; head (K,) int, from 0 to K, numbers the heads."""

    def over_head(reduce, values: jax.Array) -> jax.Array:
        return reduce(values.T, head, num_segments=head.size + 1)[head].T

    exponentials = jnp.exp(logits - lax.stop_gradient(over_head(jax.ops.segment_max, logits)))
    return exponentials / over_head(jax.ops.segment_sum, exponentials)


def distillation(logits: jax.Array, teacher: jax.Array, head: jax.Array, temperature: float) -> jax.Array:
    """(B,) nats: cross-entropy from the teacher's softmax to that of `logits`, summed over the heads numbered from 1.

    logits and teacher (B, K), head (K,) int, 0 for outputs that do not count. Both softmaxes at `temperature`, without
    its square as a factor; the second is mixed with EPS of a uniform one. Source: BLIP approaches/utils.py
    `cross_entropy`, of Serra et al. (ICML 2018)."""
    shares, targets = (softmax_of_heads(values / temperature, head) for values in (logits, teacher))
    size = jnp.bincount(head, length=head.size + 1)[head].reshape(1, -1)
    smoothed = (shares + EPS / size) / (1.0 + EPS)
    return -jnp.sum(jnp.where(head > 0, targets * jnp.log(smoothed), 0.0), axis=-1)


def claimed(head: jax.Array, task: TaskEnd) -> jax.Array:
    """`head` (K,) int32, as in Teacher, after the given task has ended; a shared head belongs to the first task.

    Refuses a task without a single batch."""
    batch = next(iter(task.loaders[-1]()), None)
    if batch is None:
        raise Refusal(f"method.name='lwf': the loader of task {task.task} yields 0 batches; at least 1 is needed")
    if batch.classes is None:
        return jnp.ones_like(head)
    own = jnp.any(batch.classes & (batch.weight > 0).reshape(-1, 1), axis=0)
    return jnp.where(own, task.task + 1, head)


def lwf(strength: float = 2.0, temperature: float = 1.0) -> Method:
    """loss + strength * `distillation` from the network at the end of the last task, by example. State: a Teacher.

    Each finished task's head adds one term; a head that all tasks share is one term. Needs no data of old tasks; costs
    a forward pass from the second task on. The teacher gets the augmented images of the new task, in evaluation mode
    and with the current running statistics. With batch norm, use the recipe's `norm_tasks=1`; otherwise the statistics
    of the new task change the teacher. Source: Li and Hoiem (ECCV 2016), with the constants of BLIP
    approaches/lwf.py.

    Args:
        strength: finite, 0 or more.
        temperature: of both softmaxes, above 0.

    Example:
        >>> lq.methods.lwf(temperature=2.0).needs_replay
        False
    """
    strength, temperature = check_strength(strength), check_positive(temperature, "method.args.temperature")

    def init(start: StageStart) -> Teacher:
        return Teacher(copy(start.params), jnp.zeros(start.num_classes, jnp.int32), jnp.float32(strength))

    def example_loss(state: Teacher, loss: Loss, forward: Forward) -> jax.Array:
        logits = forward.outputs.logits
        teacher = lax.cond(
            jnp.any(state.head > 0),
            lambda: forward.evaluate(state.params, forward.batch.image).logits,
            lambda: jnp.zeros_like(logits),  # no head counts yet
        )
        values = distillation(logits, lax.stop_gradient(teacher), state.head, temperature)
        return loss(forward.examples) + state.strength * values

    def end_task(state: Teacher, task: TaskEnd) -> Teacher:
        return state._replace(params=copy(task.params), head=claimed(state.head, task))

    return Method(init=init, example_loss=example_loss, end_task=end_task)
