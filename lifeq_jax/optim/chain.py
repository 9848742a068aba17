"""The optimizer: torch's SGD as optax links, with a method's constraint as the last one."""

import jax
import optax

from lifeq_jax.core.types import PyTree
from lifeq_jax.optim.schedules import Schedule


def scale_by_schedule(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by -rate; `update` takes `progress=`, the share of the task that is done, a scalar 0..1."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, progress: jax.Array, **_):
        rate = schedule(progress)
        return jax.tree.map(lambda leaf: -rate * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def sgd(schedule: Schedule, momentum: float = 0.9, weight_decay: float = 0.0) -> optax.GradientTransformationExtraArgs:
    """SGD as torch.optim.SGD: d = g + weight_decay p; b = momentum b + d; p = p - rate b.

    Weight decay is coupled (it enters the momentum) and acts on all parameters."""
    links = [optax.add_decayed_weights(weight_decay), optax.trace(momentum), scale_by_schedule(schedule)]
    return optax.chain(*links)


def chain(
    base: optax.GradientTransformationExtraArgs, constraint: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """`base`, then `constraint`, which sees the finished update and rewrites it so that the parameters land inside.

    `update` takes `method_state=` and `quantized=` and hands them to the links that want them."""
    return optax.chain(base, constraint)
