"""Parameters that stop learning when the first task is over: a link of the optimizer's chain."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import map_named
from lifeq_jax.core.types import PyTree


def stop_after_first_task(
    finished: Callable[[PyTree], jax.Array], learns_on: Callable[[PyTree, str], bool]
) -> optax.GradientTransformationExtraArgs:
    """From the second task on, sets all updates to 0 but those of leaves that go on learning. Must come after weight
    decay and momentum, which move a leaf even without a gradient.

    Args:
        finished: method state -> () int32, the number of finished tasks. It is data: a new task retraces nothing.
        learns_on: (method state, leaf name) -> whether the leaf goes on learning.

    `update` takes `method_state=`."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: PyTree, **_):
        first = finished(method_state) == 0

        def kept(name: str, leaf: jax.Array) -> jax.Array:
            return leaf if learns_on(method_state, name) else jnp.where(first, leaf, 0.0)

        return map_named(kept, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
