"""The numbers that a report takes from layers.csv."""

import math
from collections.abc import Sequence

import numpy as np

from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.runs.layers import Layers

MEANINGS = {
    "capacity": "share of all bits that are frozen after the last task",
    "dead_units": "share of units whose incoming weights are all 0 after the last task",
}


def at_end(layers: Layers) -> dict[str, float]:
    """The numbers of MEANINGS, as shares; NaN: not measured."""
    return whole_network(layers[max(layers)]) if layers else dict.fromkeys(MEANINGS, math.nan)


def frozen_bits(runs: Sequence[Layers]) -> dict[str, np.ndarray]:
    """{layer: (T,) float64}, frozen bits of its kernel after each task, mean over the kernel and the runs.

    The layer with the most at the end comes first; layers that some run lacks are left out."""
    common = set.intersection(*(set(measured) for layers in runs for measured in layers.values()))
    kernels = sorted(name for name in common if name.endswith("/kernel"))
    bits = {
        name.removesuffix("/kernel"): np.mean(
            [[measured[name]["bits"] for measured in layers.values()] for layers in runs], axis=0
        )
        for name in kernels
    }
    return dict(sorted(bits.items(), key=lambda item: -item[1][-1]))
