"""The pixel permutations of a permuted data set's tasks."""

import numpy as np

from lifeq_jax.data.sampling import shuffled


def permutations(num_tasks: int, pixels: int, seed: int) -> np.ndarray:
    """A permutation of the pixels for each task, (num_tasks, pixels) int32: pixel p of an image of task t is the
    original's pixel permutations[t, p], row by row.

    All of them differ, and the first is not the identity. Task t shuffles with the seed 100 r_t + t, r a shuffle of the
    tasks with `seed`, as in BLIP's pmnist. Refuses a seed outside [0, 2**32)."""
    order = shuffled(num_tasks, seed).tolist()
    return np.stack([shuffled(pixels, 100 * r + task) for task, r in enumerate(order)]).astype(np.int32)
