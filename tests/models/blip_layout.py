"""Parameters of BLIP's networks, as the golden files hold them, in our names and layouts."""

import re

import jax.numpy as jnp
import numpy as np

from tests.torch_layout import LAST, to_array

LAYERS = {
    "features.0": "stem/dense",  # of the MLP
    "features.conv1": "stem/conv",
    "features.conv2": "convs_0/conv",
    "features.conv3": "convs_1/conv",
    "features.fc1": "dense_0/dense",
    "features.fc2": "dense_1/dense",
    "conv1": "stem/conv",
    "bn1": "stem/norm",
}
PARTS = {
    "conv1": "/units_0/conv",
    "bn1": "/units_0/norm",
    "conv2": "/units_1/conv",
    "bn2": "/units_1/norm",
    "shortcut.0": "/shortcut/conv",
    "shortcut.1": "/shortcut/norm",
    "shortcut": "",  # where it is the identity: the block itself
}


def our_path(module, blocks):
    """'blocks_2/shortcut/conv' for 'layer2.0.shortcut.0' of a ResNet with 2 `blocks` a stage."""
    if module.startswith("classifier."):
        return "classifier/dense"
    if module in LAYERS:
        return LAYERS[module]
    stage, index, part = re.fullmatch(r"layer(\d)\.(\d)\.(.+)", module).groups()
    return f"blocks_{blocks * (int(stage) - 1) + int(index)}{PARTS[part]}"


def our_leaf(name, rank, blocks):
    """'params/stem/conv/kernel' for 'conv1.weight'; a head's leaf is that of the one classifier."""
    module, _, last = name.rpartition(".")
    leaf = LAST.get(last, "kernel" if rank > 1 else "scale")
    return f"{'batch_stats' if leaf in ('mean', 'var') else 'params'}/{our_path(module, blocks)}/{leaf}"


def channels_last(kernel, channels):
    """The kernel (out, C H W) of the layer behind the flattened images as (out, H W C)."""
    side = round((kernel.shape[1] / channels) ** 0.5)
    return kernel.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(kernel.shape)


def to_variables(arrays, blocks=1):
    """{'params', 'batch_stats'} of the arrays param_* and buffer_*; the heads in their order are one classifier."""
    leaves = {}
    for key in [key for key in arrays if key.startswith(("param_", "buffer_"))]:
        name, value = key.partition("_")[2], arrays[key]
        if name == "features.fc1.weight":
            value = channels_last(value, arrays["param_features.conv3.bias"].size)
        leaves.setdefault(our_leaf(name, value.ndim, blocks), []).append(to_array(value))
    variables = {"params": {}, "batch_stats": {}}
    for path, parts in leaves.items():
        *modules, leaf = path.split("/")
        node = variables
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = jnp.concatenate(parts, axis=-1)
    return variables


def columns(arrays, task):
    """The columns of the one classifier that are the head of `task`."""
    sizes = [arrays[f"param_classifier.{index}.bias"].size for index in range(task + 1)]
    return np.arange(sum(sizes[:-1]), sum(sizes))
