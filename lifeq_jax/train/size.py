"""What a trained network takes: the bits of its layers, its bytes, and the memory that training it took."""

import resource
import sys
from typing import Any

import jax
import numpy as np

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.quant import bit_table
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.train.build import build_model, image_shape


def network_size(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """The network of a recipe at the bits of a stage.

    Returns:
        `parameters`, how many; `bytes`, of weights at the bits of their layers and of all else (biases, norms and their
        statistics, what quantizers learned) as float32; `layers`, {path: [bits of weights, bits of activations, number
        of weights]} of every layer that can quantize, in the order of calls; None for what a layer does not have."""
    model = build_model(recipe, stage.weight_bits, stage.act_bits, num_classes=recipe.data.num_classes)
    shapes = variable_shapes(model, image_shape(recipe))
    sizes = {name: int(np.prod(leaf.shape)) for name, leaf in named_leaves(shapes["params"]).items()}
    rest = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["batch_stats"]))
    layers = {
        path: [weight, activation, sizes.get(f"{path}/kernel", 0)]
        for path, (weight, activation) in bit_table(model, image_shape(recipe)).items()
    }
    bits = {f"{path}/kernel": weight for path, (weight, _, _) in layers.items()}
    stored = sum(size * (bits.get(name) or 32) for name, size in sizes.items()) + 32 * rest
    return {"parameters": sum(sizes.values()), "bytes": -(-stored // 8), "layers": layers}


def peak_megabytes() -> float:
    """The most memory that this process has taken so far, in units of 10^6 bytes: of the first accelerator where there
    is one, else of the process."""
    told = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in told:
        return told["peak_bytes_in_use"] / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
