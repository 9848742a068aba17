"""Frozen features: after the first task only the head learns."""

import jax.numpy as jnp

from lifeq_jax.methods.base import Method
from lifeq_jax.methods.head import is_head
from lifeq_jax.optim.stop import stop_after_first_task


def frozen() -> Method:
    """From the second task on only the head learns: BLIP's baseline `sgd-frozen`. State: () int32, finished tasks.

    Where each task has its own head, forgetting has three causes left: batch norm's running statistics (the recipe's
    `norm_tasks=1` keeps them), the quantizers of the head, and weight decay.

    Example:
        >>> int(lq.methods.frozen().init(lq.StageStart({}, num_tasks=2, num_classes=4)))
        0
    """
    only_head = stop_after_first_task(lambda finished: finished, lambda finished, name: is_head(name))
    return Method(
        init=lambda start: jnp.zeros((), jnp.int32),
        end_task=lambda state, task: state + 1,
        gradients=only_head,  # before clipping, so that the norm is that of the head's gradients
        constraint=only_head,
    )
