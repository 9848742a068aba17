"""Acting in games on the host: the agent chooses actions for one half of the copies while the other half steps."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np

from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.games import Emulator, Environments
from lifeq_jax.rl.heads import Choice, Head, Manner, choose
from lifeq_jax.rl.rollout import ActorCritic, Rollout, pixels

HALVES = 2

Act = Callable[[PyTree, Any, Head, jax.Array, int, int], Choice]
"""(params, image (B, H, W, C) uint8, head, key, index of the call, manner) -> choice"""


def make_act(evaluate: ActorCritic) -> Act:
    """The acting function, compiled once for all games of one shape."""

    def act(
        params: PyTree, image: jax.Array, head: Head, key: jax.Array, number: jax.Array, manner: jax.Array
    ) -> Choice:
        return choose(evaluate(params, pixels(image)), head, jax.random.fold_in(key, number), manner)

    return jax.jit(act)


def seed_of(key: jax.Array) -> int:
    """A seed for games on the host, to which each copy adds its index."""
    return int(jax.random.randint(jax.random.fold_in(key, 0), (), 0, 2**30))


def open_halves(game: Emulator, num_envs: int) -> tuple[Environments, ...]:
    """N copies in two groups, or in one group if N is odd."""
    number = HALVES if num_envs % HALVES == 0 else 1
    return tuple(game.open(num_envs // number) for _ in range(number))


def begin_halves(groups: Sequence[Environments], num_envs: int, key: jax.Array) -> list[np.ndarray]:
    """Begins new games; the observations of each group. The N games do not depend on the grouping."""
    size, seed = num_envs // len(groups), seed_of(key)
    return [group.reset(seed + number * size) for number, group in enumerate(groups)]


class Seconds(NamedTuple):
    """The parts of a rollout's time."""

    acting: float
    waiting: float  # for the games


def rollout_halves(
    act: Act,
    params: PyTree,
    head: Head,
    groups: Sequence[Environments],
    images: Sequence[np.ndarray],
    key: jax.Array,
    steps: int,
) -> tuple[list[np.ndarray], Rollout, Seconds]:
    """`steps` steps of every group from the observations `images`: (new observations, rollout of NumPy arrays
    (T, N, ...), seconds)."""
    seen, choices, outcomes = [list(images)], [], []
    acting = waiting = 0.0
    for step in range(steps + 1):
        for number, group in enumerate(groups):
            began = perf_counter()
            if step > 0:
                image, outcome = group.receive()
                seen[step].append(image)
                outcomes.append(outcome)
            received = perf_counter()
            if step < steps:
                call = step * len(groups) + number
                choices.append(jax.device_get(act(params, seen[step][number], head, key, call, Manner.DRAWN)))
                group.send(choices[-1].action)
            waiting, acting = waiting + received - began, acting + perf_counter() - received
        seen.append([])
    last = seen[steps]
    images_of_steps = [image for row in seen[:steps] for image in row]
    parts = [_by_step(kind, steps, len(groups)) for kind in (images_of_steps, choices, outcomes)]
    return last, Rollout(*parts), Seconds(acting, waiting)


def _by_step(parts: list[Any], steps: int, groups: int) -> Any:
    """One tree of (T, N, ...) from trees of (N / groups, ...), ordered by step, then by group."""
    return jax.tree.map(
        lambda *own: np.stack([np.concatenate(own[groups * step : groups * (step + 1)]) for step in range(steps)]),
        *parts,
    )
