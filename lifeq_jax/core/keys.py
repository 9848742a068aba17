"""Randomness as a function of where the program stands, never carried along."""

import jax
import numpy as np


def key_for(seed: int | jax.Array, *position: int | jax.Array) -> jax.Array:
    """The JAX key of one place, e.g. (stage, task, step): resuming needs these numbers and nothing else."""
    key = jax.random.key(seed)
    for number in position:
        key = jax.random.fold_in(key, number)
    return key


def generator_for(seed: int, *position: int) -> np.random.Generator:
    """The NumPy generator of one place, for data order and augmentation drawn on the host."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=position))
