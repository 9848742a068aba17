"""The numbers that a report takes from layers.csv, and of the sizes of layers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.runs.layers import Layers
from lifeq_jax.runs.size import LayerSize

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


def units(layers: Mapping[str, LayerSize]) -> dict[str, LayerSize]:
    """The layers, each activation quantizer beside the weights before it: {'blocks_0/units_0': weights of its `conv`,
    activations of its `act`}. What has no such partner keeps its whole path."""
    parents = [path.rpartition("/")[0] for path in layers]
    joined: dict[str, LayerSize] = {}
    for path, layer in layers.items():
        parent = path.rpartition("/")[0]
        alike = [other for other, its in zip(layers.values(), parents, strict=True) if its == parent]
        weights = [other for other in alike if other.weight_bits]
        if len(alike) > 2 or len(weights) > 1 or len(alike) - len(weights) > 1 or not parent:
            joined[path] = layer
            continue
        act_bits = next((other.act_bits for other in alike if other.act_bits), None)
        weight = weights[0] if weights else layer
        joined[parent] = LayerSize(weight.weight_bits, act_bits, weight.weights)
    return joined
