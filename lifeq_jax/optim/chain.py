"""The optimizer: torch's SGD for the weights, Adam for what quantizers learn, with a method's links at both ends."""

import jax
import optax

from lifeq_jax.core.tree import map_named
from lifeq_jax.core.types import PyTree
from lifeq_jax.optim.schedules import Schedule
from lifeq_jax.quant.codes import is_learned


def scale_by_schedule(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by -rate: that of the schedule at `progress=`, the share of the task that is done, a scalar
    0..1, times `rate_factor=`, a scalar."""

    def update(
        updates: PyTree,
        state: PyTree,
        params: PyTree = None,
        *,
        progress: jax.Array,
        rate_factor: jax.Array | float = 1.0,
        **_,
    ):
        rate = schedule(progress) * rate_factor
        return jax.tree.map(lambda leaf: -rate * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def sgd(schedule: Schedule, momentum: float = 0.9, weight_decay: float = 0.0) -> optax.GradientTransformationExtraArgs:
    """SGD as torch.optim.SGD: d = g + weight_decay p; b = momentum b + d; p = p - rate b.

    Weight decay is coupled (it enters the momentum) and acts on all parameters."""
    links = [optax.add_decayed_weights(weight_decay), optax.trace(momentum), scale_by_schedule(schedule)]
    return optax.chain(*links)


def adam(schedule: Schedule, epsilon: float = 1e-8, weight_decay: float = 0.0) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma and Ba, ICLR 2015) as torch.optim.Adam, with its constants 0.9 and 0.999.

    Weight decay is coupled: weight_decay * p is added to the gradient."""
    links = [optax.add_decayed_weights(weight_decay), optax.scale_by_adam(b1=0.9, b2=0.999, eps=epsilon)]
    return optax.chain(*links, scale_by_schedule(schedule))


def partition_names(params: PyTree) -> PyTree:
    """A tree like `params` of "learned", for the learned state of quantizers, and "weights", for all other leaves."""
    return map_named(lambda name, _: "learned" if is_learned(name) else "weights", params)


def chain(
    gradients: optax.GradientTransformationExtraArgs,
    base: optax.GradientTransformationExtraArgs,
    learned: optax.GradientTransformationExtraArgs,
    constraint: optax.GradientTransformationExtraArgs,
    max_norm: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """`gradients`, clipping, then `learned` for the learned state of quantizers and `base` for the rest, `constraint`.

    `gradients` sees the raw gradient. What comes out of it is scaled down where its global norm exceeds `max_norm` (0:
    never), as torch.nn.utils.clip_grad_norm_ does before optimizer.step(): weight decay and momentum come after it.
    `constraint` sees the finished update and rewrites it so that the parameters land inside. `update` takes
    `progress=`, `method_state=` and `quantized=` and hands them to the links that want them."""
    clip = optax.clip_by_global_norm(max_norm) if max_norm else optax.identity()
    parts = optax.partition({"weights": base, "learned": learned}, partition_names)
    return optax.chain(gradients, clip, parts, constraint)
