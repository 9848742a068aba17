"""Acting in games that run on the host: the agent chooses for one half of the copies while the other half plays."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np

from lifeq_jax.core.types import PyTree
from lifeq_jax.rl.games import Emulator, Environments
from lifeq_jax.rl.heads import Choice, Head, Manner, choose
from lifeq_jax.rl.rollout import Evaluate, Rollout, pixels

HALVES = 2

Act = Callable[[PyTree, Any, Head, jax.Array, int, int], Choice]
"""(params, image (B, H, W, C) uint8, head, key, number of the call, manner) -> choice"""


def make_act(evaluate: Evaluate) -> Act:
    """Acting, compiled once for all games of one shape."""

    def act(
        params: PyTree, image: jax.Array, head: Head, key: jax.Array, number: jax.Array, manner: jax.Array
    ) -> Choice:
        return choose(evaluate(params, pixels(image)), head, jax.random.fold_in(key, number), manner)

    return jax.jit(act)


def seed_of(key: jax.Array) -> int:
    """A number for games on the host, which add the number of a copy to it."""
    return int(jax.random.randint(jax.random.fold_in(key, 0), (), 0, 2**30))


def open_halves(game: Emulator, num_envs: int) -> tuple[Environments, ...]:
    """N copies in two groups, or in one where N is odd."""
    number = HALVES if num_envs % HALVES == 0 else 1
    return tuple(game.open(num_envs // number) for _ in range(number))


def begin_halves(groups: Sequence[Environments], num_envs: int, key: jax.Array) -> list[np.ndarray]:
    """New games; what is seen of each group. The N games do not depend on how they are grouped."""
    size, seed = num_envs // len(groups), seed_of(key)
    return [group.reset(seed + number * size) for number, group in enumerate(groups)]


class Seconds(NamedTuple):
    """Where the time of a rollout goes."""

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
    """`steps` steps of every group from what is seen of it: (what is seen then, the rollout, NumPy arrays (T, N, ...),
    seconds)."""
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
    """Trees of (N / groups, ...), step after step and group after group, as one of (T, N, ...)."""
    return jax.tree.map(
        lambda *own: np.stack([np.concatenate(own[groups * step : groups * (step + 1)]) for step in range(steps)]),
        *parts,
    )
