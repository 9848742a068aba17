"""Frozen features: after the first task only the head learns."""

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import map_named
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.head import is_head


def keep_features() -> optax.GradientTransformationExtraArgs:
    """Sets the updates of all leaves outside the head to 0. Must be last.

    `update` takes `method_state=`, () int32, the number of finished tasks; with 0 everything learns."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: jax.Array, **_):
        def kept(name: str, leaf: jax.Array) -> jax.Array:
            return leaf if is_head(name) else jnp.where(method_state > 0, 0.0, leaf)

        return map_named(kept, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def frozen() -> Method:
    """From the second task on only the head learns: BLIP's baseline `sgd-frozen`. State: () int32, finished tasks.

    Where each task has a head of its own it forgets by what all tasks still share: batch norm's running statistics,
    which the recipe's `norm_tasks=1` keeps, the quantizers of the head, and weight decay."""
    return Method(
        init=lambda params: jnp.zeros((), jnp.int32),
        end_task=lambda state, task: state + 1,
        constraint=keep_features(),
    )
