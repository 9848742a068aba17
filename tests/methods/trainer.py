"""Training over tasks with the real step, for networks that are a few functions without running statistics."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Examples
from lifeq_jax.losses.classify import of_head, weighted_mean
from lifeq_jax.methods.base import Forward, Outputs, StageStart
from lifeq_jax.methods.head import is_head
from lifeq_jax.train.classify import classification
from lifeq_jax.train.network import Network
from lifeq_jax.train.step import fresh_state, make_step


def network(apply, quantize=lambda params: params, quantized=None):
    """The functions that a step calls, made of apply(params, image) -> Outputs."""
    unused = dict.fromkeys(Network._fields)
    return Network(**unused)._replace(
        train=lambda params, stats, image, *_: (apply(params, image), stats),
        evaluate=lambda params, image, stats: apply(params, image),
        quantize=quantize,
        quantized=quantized,
    )


def start(params, num_tasks=2, num_rows=0, num_kept=0):
    """The start of a stage of a network whose head's bias says how many outputs there are; without a head, one."""
    outputs = [leaf.size for name, leaf in named_leaves(params).items() if is_head(name) and name.endswith("bias")]
    return StageStart(params, num_tasks, *(outputs or [1]), num_rows, num_kept)


def forward(params, batch, apply, counts=None):
    """What `example_loss` sees of a batch in a network without running statistics."""
    outputs = apply(params, batch.image)
    logits, counts = (
        of_head(outputs.logits, batch.classes),
        jnp.ones(outputs.logits.shape[1]) if counts is None else counts,
    )
    examples = Examples(logits, outputs.feature, batch.label, batch.weight, counts, jnp.zeros(()))
    return Forward(batch, outputs, examples, apply)


def added(method, state, batch, logits, evaluate):
    """What a method adds to the mean loss of a batch with the given logits (B, K)."""
    seen = forward(None, batch, lambda params, image: Outputs(logits, logits))._replace(evaluate=evaluate)
    values = method.example_loss(state, lambda examples: jnp.zeros(len(examples.label)), seen)
    return weighted_mean(values, batch.weight)


def train(net, method, optimizer, params, tasks, counts, task_end, loss="cross_entropy", **facts):
    """Trains on the batches of each task in turn, with `task_end` (task, params) as `train.task_end.conclude` has it.

    Yields (params, method state) at the end of each task."""
    objective = classification(net, method, LOSSES[loss]())
    step = jax.jit(make_step(objective, net, method, optimizer))
    begun = start(params, len(tasks))._replace(**facts)
    state, key = fresh_state(method, optimizer, begun, (), counts, num_steps=0), jax.random.key(0)
    for task, batches in enumerate(tasks):
        opt_state, size = optimizer.init(state.params), jnp.array(len(batches), jnp.int32)
        state = state._replace(opt_state=opt_state, step=jnp.zeros((), jnp.int32), num_steps=size)
        for batch in batches:
            state, _ = step(state, batch, key)
        if task + 1 < len(tasks) or method.concludes:
            method_state = method.end_task(state.method_state, task_end(task, state.params))
            params = method.settle(method_state, state.params)
            state = state._replace(method_state=method_state, params=params)
        yield state.params, state.method_state
