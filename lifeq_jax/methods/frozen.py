"""Frozen features: after the first task only the head learns."""

import jax.numpy as jnp

from lifeq_jax.methods.base import Method
from lifeq_jax.methods.head import is_head
from lifeq_jax.optim.stop import stop_after_first_task


def frozen() -> Method:
    """From the second task on only the head learns: BLIP's baseline `sgd-frozen`. State: () int32, finished tasks.

    Where each task has a head of its own it forgets by what all tasks still share: batch norm's running statistics,
    which the recipe's `norm_tasks=1` keeps, the quantizers of the head, and weight decay."""
    only_head = stop_after_first_task(lambda finished: finished, lambda finished, name: is_head(name))
    return Method(
        init=lambda start: jnp.zeros((), jnp.int32),
        end_task=lambda state, task: state + 1,
        gradients=only_head,  # a limit of the gradients' norm does not see what is frozen
        constraint=only_head,
    )
