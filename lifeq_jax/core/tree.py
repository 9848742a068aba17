"""Trees of arrays, addressed by the names of their leaves."""

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import PyTree


def leaf_name(path: tuple) -> str:
    """'layers_0/conv0/kernel' for the key path of a leaf, in dicts and records alike."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def named_leaves(tree: PyTree) -> dict[str, jax.Array]:
    """All leaves of `tree` by name, in tree order."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_named(function: Callable, tree: PyTree, *rest: PyTree) -> PyTree:
    """jax.tree.map with the leaf's name as first argument: function(name, leaf, *other leaves)."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(leaf_name(path), *leaves), tree, *rest)


def digest_of_arrays(tree: PyTree, text: str = "") -> str:
    """A hash of every leaf's name, type, shape and bytes, and of `text`."""
    digest = hashlib.sha256(text.encode())
    for name, leaf in sorted(named_leaves(jax.device_get(tree)).items()):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def zeros_like(tree: PyTree) -> PyTree:
    """A tree of zeros with the shapes and types of `tree`."""
    return jax.tree.map(jnp.zeros_like, tree)


def total(tree: PyTree) -> jax.Array:
    """Sum over all elements of all leaves, a scalar."""
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(tree)), start=jnp.zeros(()))


def in_chunks(tree: PyTree, most: int) -> PyTree:
    """Arrays (B, ...) cut along B into n equal chunks, (n, m, ...): n the fewest with m <= max(most, 1).

    Where n m exceeds B, the last chunk ends in zeros: a mask or weight in `tree` tells them apart."""
    size = len(jax.tree.leaves(tree)[0])
    number = -(-size // max(most, 1))
    length = -(-size // number)

    def cut(array: jax.Array) -> jax.Array:
        filled = jnp.pad(array, [(0, number * length - size), *[(0, 0)] * (array.ndim - 1)])
        return filled.reshape(number, length, *array.shape[1:])

    return jax.tree.map(cut, tree)


def megabytes(tree: PyTree) -> float:
    """The size of the arrays of `tree`, in units of 10^6 bytes."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 1e6
