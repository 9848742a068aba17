"""Randomness as a function of where the program stands, never carried along."""

import enum

import jax
import numpy as np


class Stream(enum.IntEnum):
    """What a key is for."""

    TRAINING = 0  # dropout and rounding noise of a step; position: (stage, task, step)
    METHOD = 1  # a method's work at the end of a task, which folds in more; position: (stage, task)
    PARAMETERS = 2  # fresh parameters whose initializer NumPy cannot draw; no position
    PLAY = 3  # what games and an agent that learns them draw; position: (stage, task, epoch)
    SCORE = 4  # games and actions of an evaluation; position: (task,), so that every evaluation starts the same games


def key_for(seed: int | jax.Array, *position: int | jax.Array, stream: Stream = Stream.TRAINING) -> jax.Array:
    """The JAX key of one place, e.g. (stage, task, step): resuming needs these numbers and nothing else.

    Holds: keys of different streams differ, whatever is folded into them later."""
    key = jax.random.key(seed)
    for number in (int(stream), *position):
        key = jax.random.fold_in(key, number)
    return key


def generator_for(seed: int, *position: int) -> np.random.Generator:
    """The NumPy generator of one place, for data order and augmentation drawn on the host."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=position))
