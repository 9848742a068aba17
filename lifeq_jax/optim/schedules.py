"""Learning-rate schedules by name, as functions of the share of a task that is done; annealing of other numbers.

Every maker of the table takes `learning_rate`, the rate at progress 0. Rate and progress are data, not constants of the
compiled step: tasks of different lengths, and runs of different rates, share one compilation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal

ByProgress = Callable[[jax.Array], jax.Array]
"""share of the task that is done (a scalar, 0..1) -> a number"""


@dataclass(frozen=True)
class Schedule:
    """A learning rate that follows the share of the task that is done.

    Example:
        >>> float(lq.optim.Schedule(0.5, lambda progress: 1 - progress**2)(np.float32(0.5)))
        0.375
    """

    learning_rate: float | jax.Array  # at progress 0
    factor: ByProgress  # of it; 1 at progress 0

    def __call__(self, progress: jax.Array) -> jax.Array:
        """The rate, a scalar, at the share `progress`."""
        return self.learning_rate * self.factor(progress)


def constant(learning_rate: float, milestones: Sequence[float] = (), factor: float = 1.0) -> Schedule:
    """`learning_rate` throughout; milestones and factor have no effect.

    Example:
        >>> [round(float(lq.optim.constant(0.5)(np.float32(progress))), 6) for progress in (0, 0.5, 1)]
        [0.5, 0.5, 0.5]
    """
    return Schedule(learning_rate, jnp.ones_like)


def step(learning_rate: float, milestones: Sequence[float] = (1 / 3, 2 / 3), factor: float = 0.1) -> Schedule:
    """`learning_rate`, multiplied by `factor` at each milestone.

    Args:
        milestones: shares of the task, refused outside (0, 1); the default is LifeQuant's epochs 10 and 20 of 30.

    Example:
        >>> rate = lq.optim.step(1.0, milestones=(0.5,), factor=0.5)
        >>> [float(rate(np.float32(progress))) for progress in (0, 0.5, 1)]
        [1.0, 0.5, 0.5]
    """
    for milestone in milestones:
        if not 0.0 < milestone < 1.0:
            raise Refusal(f"optimizer.milestones={milestone!r} is not a share of the task between 0 and 1")
    bounds = jnp.array(milestones, jnp.float32)
    return Schedule(learning_rate, lambda progress: factor ** jnp.sum(progress >= bounds).astype(jnp.float32))


def cosine(learning_rate: float, milestones: Sequence[float] = (), factor: float = 0.0) -> Schedule:
    """Half a cosine from `learning_rate` down to 0; milestones and factor have no effect.

    Example:
        >>> [round(float(lq.optim.cosine(1.0)(np.float32(progress))), 6) for progress in (0, 0.5, 1)]
        [1.0, 0.5, 0.0]
    """
    return Schedule(learning_rate, lambda progress: 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))


def linear(learning_rate: float, milestones: Sequence[float] = (), factor: float = 0.0) -> Schedule:
    """A straight line from `learning_rate` down to 0; milestones and factor have no effect.

    Example:
        >>> [round(float(lq.optim.linear(1.0)(np.float32(progress))), 6) for progress in (0, 0.5, 1)]
        [1.0, 0.5, 0.0]
    """
    return Schedule(learning_rate, lambda progress: 1.0 - progress)


def annealed(first: float | jax.Array, last: float | jax.Array, start: float = 0.0) -> ByProgress:
    """`first` up to the share `start` of the task, in [0, 1), then half a cosine to `last` at its end.

    Source: Nagel et al., ICML 2022, for the strength of dampening and the threshold of freezing."""

    def value(progress: jax.Array) -> jax.Array:
        done = jnp.clip((progress - start) / (1.0 - start), 0.0, 1.0)
        return last + 0.5 * (first - last) * (1.0 + jnp.cos(jnp.pi * done))

    return value


SCHEDULES: dict[str, Callable[[float, Sequence[float], float], Schedule]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "linear": linear,
}
