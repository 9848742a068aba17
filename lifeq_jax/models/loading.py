"""Fresh variables for a model, and parameters carried from one model into another."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.keys import generator_for
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.initial import HE_NORMAL, TORCH_UNIFORM, Initial
from lifeq_jax.layers.quant import traced
from lifeq_jax.quant.codes import is_learned

SHOWN = 3


def variable_shapes(model: nn.Module, image_shape: tuple[int, int, int]) -> PyTree:
    """The collections of `model` for images (H, W, C) as shapes and types; nothing is computed.

    `params` and `batch_stats`, which is empty for a network without batch norm."""
    return {"batch_stats": {}} | traced(model, image_shape).shapes


def _draw(generator: np.random.Generator, kernel: Initial, name: str, shape: tuple[int, ...]) -> np.ndarray:
    last = name.rpartition("/")[2]
    if last == "kernel":
        values = (TORCH_UNIFORM if "/classifier/" in name else kernel).draw(generator, shape)
    else:
        values = np.full(shape, 1.0 if last in ("scale", "var") else 0.0)
    return values.astype(np.float32)


def initialize(model: nn.Module, seed: int, image_shape: tuple[int, int, int]) -> PyTree:
    """The collections of `model` at its start: a function of (model, seed, image_shape), equal on every device.

    The classifier's kernel uniform in +-1/sqrt(fan_in), the others as the model's `kernel_init` says, N(0, 2 / fan_out)
    where it has none, scales and variances 1, the rest 0: the distributions of `model.init`, drawn by NumPy in
    milliseconds where compiling init takes seconds. What quantizers learn (quant.codes.is_learned) is filled likewise,
    and is for a calibration pass to find."""
    generator, kernel = generator_for(seed), getattr(model, "kernel_init", HE_NORMAL)
    shapes = variable_shapes(model, image_shape)
    return map_named(lambda name, leaf: jnp.asarray(_draw(generator, kernel, name, leaf.shape)), shapes)


def load_float(params_from: PyTree, params_into: PyTree) -> PyTree:
    """The values of `params_from` in the structure of `params_into`, leaf by leaf of the same name.

    For parameters as for running statistics; `params_into` may hold shapes only. What quantizers learn is not carried
    over, since it belongs to their bits: those leaves are `params_into`'s own, which `params_from` need not have.
    Refuses leaves that are missing, left over, or of another shape, naming the first three and their number."""
    source, target = _carried(params_from), _carried(params_into)
    misfits = [
        f"{name} {_shape(source, name)} -> {_shape(target, name)}"
        for name in sorted(source | target)
        if _shape(source, name) != _shape(target, name)
    ]
    if misfits:
        shown = "; ".join(misfits[:SHOWN])
        more = f"; and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise Refusal(f"parameters do not fit the model, {len(misfits)} in all (given -> wanted): {shown}{more}")
    return map_named(lambda name, leaf: leaf if is_learned(name) else source[name], params_into)


def _carried(params: PyTree) -> dict[str, jax.Array]:
    return {name: leaf for name, leaf in named_leaves(params).items() if not is_learned(name)}


def _shape(leaves: dict, name: str) -> str:
    return "x".join(map(str, leaves[name].shape)) or "scalar" if name in leaves else "absent"
