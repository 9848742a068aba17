"""Checks that numbers are finite."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree


@jax.jit
def _are_finite(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: jnp.all(jnp.isfinite(leaf)) for name, leaf in leaves.items()}


def check_finite(tree: PyTree, what: str) -> None:
    """Checks every number of a tree.

    Raises:
        Diverged: names `what` and the first leaf that holds an infinity or NaN."""
    inexact = {n: leaf for n, leaf in named_leaves(tree).items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    for name, is_finite in jax.device_get(_are_finite(inexact)).items():
        if not is_finite:
            raise Diverged(f"{name} of {what} is not finite")
