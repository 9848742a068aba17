"""How many weights oscillate, how many are frozen, and how far latent weights are from their grid points."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Codes
from lifeq_jax.quant.codes import KernelQuantizers, learned_of

OSCILLATING = 0.005  # oscillations per step above which Nagel et al. (ICML 2022) count a weight as oscillating
BINS = 20  # of the histogram of distances


class Tracked(Protocol):
    """The part of one kernel's track that is read here, arrays of its shape."""

    @property
    def frequency(self) -> jax.Array:
        """Moving average of oscillations per step."""

    @property
    def frozen(self) -> jax.Array:
        """Whether the code is fixed, bool."""


class Oscillations(NamedTuple):
    """Numbers of all tracked weights together."""

    oscillating: jax.Array  # () share with a frequency above the threshold that are not frozen, 0..1
    frozen: jax.Array  # () share that is frozen, 0..1
    distances: jax.Array  # (BINS,) int32, counts by distance from the grid point, from -1/2 to 1/2 step


def grid_distance(relaxed: jax.Array, codes: Codes) -> jax.Array:
    """The signed distance of latent weights from their grid points, latent minus grid, in steps; the shape of relaxed.

    relaxed: the weights as the quantizer rounds them, limited to the grid's range (`Quantizer.relax`); a weight beyond
    the grid is at distance 0 of its outermost point. Within [-1/2, 1/2] wherever the quantizer rounds to nearest."""
    return relaxed / codes.scale + codes.zero - codes.values


def histogram(distances: jax.Array, bins: int = BINS) -> jax.Array:
    """(bins,) int32 counts of `distances`, any shape, in equal bins over [-1/2, 1/2]; the outer bins take the rest."""
    place = jnp.floor((distances.reshape(-1) + 0.5) * bins).astype(jnp.int32)
    return jnp.bincount(jnp.clip(place, 0, bins - 1), length=bins).astype(jnp.int32)


def oscillations(
    table: KernelQuantizers, params: PyTree, tracks: Mapping[str, Tracked], threshold: float = OSCILLATING
) -> Oscillations:
    """The numbers of the kernels of `table` that `tracks`, at least one entry, names; traceable."""
    leaves = named_leaves(params)

    def share(masks: list[jax.Array]) -> jax.Array:
        return jnp.mean(jnp.concatenate([mask.reshape(-1) for mask in masks]))

    def distances(name: str) -> jax.Array:
        quantizer, learned = table[name], learned_of(params, name)
        assert quantizer.codes is not None  # `KernelQuantizers` holds none of 32 bits
        return histogram(grid_distance(quantizer.relax(learned, leaves[name]), quantizer.codes(learned, leaves[name])))

    return Oscillations(
        # a frozen weight does not change any more; its frequency only decays
        oscillating=share([(track.frequency > threshold) & ~track.frozen for track in tracks.values()]),
        frozen=share([track.frozen for track in tracks.values()]),
        distances=sum((distances(name) for name in tracks), start=jnp.zeros(BINS, jnp.int32)),
    )
