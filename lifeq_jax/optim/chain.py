"""The optimizer: torch's SGD or Adam for the weights, Adam for learned quantizers, a method's links at both ends."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import map_named
from lifeq_jax.core.types import PyTree
from lifeq_jax.optim.schedules import Schedule
from lifeq_jax.quant.codes import is_learned


class Rate(NamedTuple):
    """The state of `scale_by_progress`: data, so that runs of different rates share one compiled step."""

    learning_rate: jax.Array  # () float32, at progress 0


def scale_by_progress(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by -schedule(progress) * rate_factor.

    `update` takes `progress=`, the share of the task that is done, and `rate_factor=`, both scalars."""

    def update(
        updates: PyTree,
        state: Rate,
        params: PyTree = None,
        *,
        progress: jax.Array,
        rate_factor: jax.Array | float = 1.0,
        **_,
    ):
        rate = state.learning_rate * schedule.factor(progress) * rate_factor
        return jax.tree.map(lambda leaf: -rate * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: Rate(jnp.float32(schedule.learning_rate)), update)


def sgd_by_progress(
    schedule: Schedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """SGD as torch.optim.SGD: d = g + weight_decay p; b = momentum b + d; p = p - rate b.

    Args:
        schedule: of the learning rate; see lifeq_jax.optim.schedules.
        momentum: 0 to 1.
        weight_decay: L2 coefficient. Weight decay is coupled (it enters the momentum) and acts on all parameters.

    Returns:
        An optax transform whose `update` takes `progress=` and, optionally, `rate_factor=`, a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = lq.optim.sgd_by_progress(lq.optim.constant(0.5), momentum=0.0)
        >>> params = {"w": jnp.ones(())}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params, progress=jnp.zeros(()))
        >>> float(updates["w"])
        -0.5
    """
    links = [optax.add_decayed_weights(weight_decay), optax.trace(momentum), scale_by_progress(schedule)]
    return optax.chain(*links)


def adam_by_progress(
    schedule: Schedule, epsilon: float = 1e-8, weight_decay: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma and Ba, ICLR 2015) as torch.optim.Adam, with its constants 0.9 and 0.999.

    Args:
        schedule: of the learning rate; see lifeq_jax.optim.schedules.
        epsilon: added to the square root of the second moment.
        weight_decay: L2 coefficient. Weight decay is coupled: weight_decay * p is added to the gradient.

    Returns:
        An optax transform whose `update` takes `progress=` and, optionally, `rate_factor=`, a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = lq.optim.adam_by_progress(lq.optim.constant(0.5))
        >>> params = {"w": jnp.ones(())}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params, progress=jnp.zeros(()))
        >>> round(float(updates["w"]), 3)
        -0.5
    """
    links = [optax.add_decayed_weights(weight_decay), optax.scale_by_adam(b1=0.9, b2=0.999, eps=epsilon)]
    return optax.chain(*links, scale_by_progress(schedule))


def partition_names(params: PyTree) -> PyTree:
    """A tree like `params` of "learned", for the learned state of quantizers, and "weights", for all other leaves."""
    return map_named(lambda name, _: "learned" if is_learned(name) else "weights", params)


def method_chain(
    gradients: optax.GradientTransformationExtraArgs,
    base: optax.GradientTransformationExtraArgs,
    learned: optax.GradientTransformationExtraArgs,
    constraint: optax.GradientTransformationExtraArgs,
    max_norm: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a run: `gradients`, clipping by global norm, `base` and `learned`, `constraint`.

    Args:
        gradients: the method's first link, which gets the raw gradient (`Method.gradients`).
        base: the optimizer of the weights.
        learned: the optimizer of the learned state of quantizers.
        constraint: the method's last link, which may change the finished update (`Method.constraint`).
        max_norm: gradients of a larger global norm are scaled down to it, before weight decay and momentum, as by
            torch.nn.utils.clip_grad_norm_ before optimizer.step(); 0: never.

    Returns:
        An optax transform. Its `update` passes `progress=`, `method_state=` and the other extra arguments to all links.

    Example:
        >>> method, rate = lq.methods.finetune(), lq.optim.constant(0.1)
        >>> base, learned = lq.optim.sgd_by_progress(rate), lq.optim.adam_by_progress(rate)
        >>> optimizer = lq.optim.method_chain(method.gradients, base, learned, method.constraint, max_norm=1.0)
        >>> len(optimizer.init({"w": 1.0}))
        4
    """
    clip = optax.clip_by_global_norm(max_norm) if max_norm else optax.identity()
    parts = optax.partition({"weights": base, "learned": learned}, partition_names)
    return optax.chain(gradients, clip, parts, constraint)
