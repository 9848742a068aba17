"""Learning rates as functions of the share of a task that is done, by name, and the annealing of other numbers.

Every maker of the table takes the initial rate and returns progress (0..1) -> rate. Progress is data, not a constant
of the compiled step, so tasks of different lengths share one compilation."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal

Schedule = Callable[[jax.Array], jax.Array]


def constant(learning_rate: float, milestones: Sequence[float] = (), factor: float = 1.0) -> Schedule:
    """The same rate throughout; milestones and factor have no effect."""
    return lambda progress: jnp.full_like(progress, learning_rate)


def step(learning_rate: float, milestones: Sequence[float] = (1 / 3, 2 / 3), factor: float = 0.1) -> Schedule:
    """Multiplies the rate by `factor` from each milestone on, a share of the task in (0, 1).

    LifeQuant's epochs 10 and 20 of 30 are the default. Refuses a milestone outside (0, 1)."""
    for milestone in milestones:
        if not 0.0 < milestone < 1.0:
            raise Refusal(f"optimizer.milestones={milestone!r} is not a share of the task between 0 and 1")
    bounds = jnp.array(milestones, jnp.float32)
    return lambda progress: learning_rate * factor ** jnp.sum(progress >= bounds).astype(jnp.float32)


def cosine(learning_rate: float, milestones: Sequence[float] = (), factor: float = 0.0) -> Schedule:
    """Half a cosine from the rate down to 0; milestones and factor have no effect."""
    return lambda progress: learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def linear(learning_rate: float, milestones: Sequence[float] = (), factor: float = 0.0) -> Schedule:
    """A straight line from the rate down to 0; milestones and factor have no effect."""
    return lambda progress: learning_rate * (1.0 - progress)


def annealed(first: float, last: float, start: float = 0.0) -> Schedule:
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
