"""Training over tasks with the real step, for networks that are a few functions without running statistics."""

import jax
import jax.numpy as jnp

from lifeq_jax.losses import LOSSES
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


def train(net, method, optimizer, params, tasks, counts, task_end):
    """Trains on the batches of each task in turn, with `task_end` (task, params) as `train.task_end.conclude` has it.

    Yields (params, method state) at the end of each task."""
    objective = classification(net, method, LOSSES["cross_entropy"]())
    step = jax.jit(make_step(objective, net, method, optimizer))
    state = fresh_state(method, optimizer, params, (), counts, num_steps=0)
    for task, batches in enumerate(tasks):
        opt_state, size = optimizer.init(state.params), jnp.array(len(batches), jnp.int32)
        state = state._replace(opt_state=opt_state, step=jnp.zeros((), jnp.int32), num_steps=size)
        for batch in batches:
            state, _ = step(state, batch, jax.random.key(0))
        if task + 1 < len(tasks) or method.concludes:
            method_state = method.end_task(state.method_state, task_end(task, state.params))
            params = method.settle(method_state, state.params)
            state = state._replace(method_state=method_state, params=params)
        yield state.params, state.method_state
