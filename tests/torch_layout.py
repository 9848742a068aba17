"""Torch state_dicts, as the golden files hold them, in flax's names and layouts."""

import re

import jax.numpy as jnp
import numpy as np

LAST = {"running_mean": "mean", "running_var": "var", "bias": "bias"}


def leaf_path(name: str, rank: int) -> tuple[str, ...]:
    """('layers_3', 'bn0', 'scale') for 'layers.3.bn0.weight' of rank 1; a weight of rank 2 or 4 is a kernel."""
    *modules, last = re.sub(r"\.(\d+)", r"_\1", name).split(".")
    return (*modules, LAST.get(last) or ("scale" if rank == 1 else "kernel"))


def leaf_name(name: str, rank: int) -> str:
    """'layers_3/bn0/scale' for 'layers.3.bn0.weight' of rank 1."""
    return "/".join(leaf_path(name, rank))


def to_array(value: np.ndarray) -> jnp.ndarray:
    """OIHW to HWIO, (out, in) to (in, out), vectors as they are; float32."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, range(value.ndim))
    return jnp.asarray(np.transpose(value.astype(np.float32), tuple(axes)))


def to_image(value: np.ndarray) -> jnp.ndarray:
    """NCHW to NHWC."""
    return jnp.asarray(np.transpose(value, (0, 2, 3, 1)))


def to_variables(state: dict[str, np.ndarray]) -> dict[str, dict]:
    """{'params': ..., 'batch_stats': ...} of a flat torch state_dict."""
    variables: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for name, value in state.items():
        *modules, leaf = leaf_path(name, value.ndim)
        node = variables["batch_stats" if leaf in ("mean", "var") else "params"]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = to_array(value)
    return variables


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose key begins with `prefix`, without it."""
    return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
