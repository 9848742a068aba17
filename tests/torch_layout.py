"""Torch state_dicts, as the golden files hold them, in our names and layouts."""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

Names = Mapping[str, str]  # torch module -> our path; * stands for the number of a block

RESNET20: Names = {
    "conv0": "stem/conv",
    "bn": "stem/norm",
    "layers.*.conv0": "blocks_*/units_0/conv",
    "layers.*.bn0": "blocks_*/units_0/norm",
    "layers.*.conv1": "blocks_*/units_1/conv",
    "layers.*.bn1": "blocks_*/units_1/norm",
    "layers.*.skip_conv": "blocks_*/shortcut/conv",
    "layers.*.skip_bn": "blocks_*/shortcut/norm",
    "logit": "classifier/dense",
}
MOBILE_V2: Names = {
    "conv1": "stem/conv",
    "bn1": "stem/norm",
    "layers.*.conv1": "blocks_*/expand/conv",
    "layers.*.bn1": "blocks_*/expand/norm",
    "layers.*.conv2": "blocks_*/depthwise/conv",
    "layers.*.bn2": "blocks_*/depthwise/norm",
    "layers.*.conv3": "blocks_*/project/conv",
    "layers.*.bn3": "blocks_*/project/norm",
    "layers.*.shortcut.0": "blocks_*/shortcut/conv",
    "layers.*.shortcut.1": "blocks_*/shortcut/norm",
    "conv2": "last/conv",
    "bn2": "last/norm",
    "logit": "classifier/dense",  # LifeQuant's name
    "linear": "classifier/dense",  # ClimbQ's
}
LAST = {"running_mean": "mean", "running_var": "var", "bias": "bias"}


def block_names(names: Names) -> Names:
    """The names within one block."""
    return {key.removeprefix("layers.*."): ours.removeprefix("blocks_*/") for key, ours in names.items() if "*" in key}


def leaf_name(names: Names, name: str, rank: int) -> str:
    """'blocks_3/units_0/norm/scale' for 'layers.3.bn0.weight' of rank 1; a weight of rank 2 or 4 is a kernel."""
    module, _, last = name.rpartition(".")
    number = re.search(r"(?<=^layers\.)\d+", module)
    path = names[module] if number is None else names[module.replace(number[0], "*", 1)].replace("*", number[0])
    return f"{path}/{LAST.get(last) or ('scale' if rank == 1 else 'kernel')}"


def to_array(value: np.ndarray) -> jnp.ndarray:
    """OIHW to HWIO, (out, in) to (in, out), vectors as they are; float32."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, range(value.ndim))
    return jnp.asarray(np.transpose(value.astype(np.float32), tuple(axes)))


def to_image(value: np.ndarray) -> jnp.ndarray:
    """NCHW to NHWC."""
    return jnp.asarray(np.transpose(value, (0, 2, 3, 1)))


def to_variables(names: Names, state: dict[str, np.ndarray]) -> dict[str, dict]:
    """{'params': ..., 'batch_stats': ...} of a flat torch state_dict."""
    variables: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for name, value in state.items():
        *modules, leaf = leaf_name(names, name, value.ndim).split("/")
        node = variables["batch_stats" if leaf in ("mean", "var") else "params"]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = to_array(value)
    return variables


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose key begins with `prefix`, without it."""
    return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
