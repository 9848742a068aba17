"""Fresh variables for a model, and parameters copied from one model into another."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.core.keys import Stream, generator_for, key_for
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.quant import traced
from lifeq_jax.quant.codes import is_learned

SHOWN = 3


def variable_shapes(model: nn.Module, image_shape: tuple[int, int, int]) -> PyTree:
    """The collections of `model` for images (H, W, C) as shapes and types; nothing is computed.

    `params` and `batch_stats`, which is empty for a network without batch norm."""
    return {"batch_stats": {}} | traced(model, image_shape).shapes


def initialize(model: nn.Module, seed: int, image_shape: tuple[int, int, int]) -> PyTree:
    """The initial collections of `model`, a function of (model, seed, image_shape).

    Each leaf has the distribution that its layer states. If that is a `layers.initial.Initializer`, NumPy draws it,
    equal on every device and in milliseconds, while compiling `model.init` takes seconds. Other leaves, such as those
    of layers with Flax's own initializers, come from `model.init`, compiled for them alone. Learned state of quantizers
    (quant.codes.is_learned) is 1 for scales and else 0, until a calibration pass sets it."""
    generator, found = generator_for(seed), traced(model, image_shape)
    shapes = variable_shapes(model, image_shape)
    unstated = {name for name in named_leaves(shapes) if name not in found.initial and not is_learned(name)}
    others = _by_init(model, seed, image_shape, unstated) if unstated else {}

    def fresh(name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if is_learned(name):
            return jnp.full(leaf.shape, 1.0 if name.endswith("/scale") else 0.0, leaf.dtype)
        if name in others:
            return others[name]
        return jnp.asarray(found.initial[name].draw(generator, leaf.shape), leaf.dtype)

    return map_named(fresh, shapes)


def _by_init(model: nn.Module, seed: int, image_shape: tuple[int, int, int], names: set[str]) -> dict[str, jax.Array]:
    def leaves(key: jax.Array) -> dict[str, jax.Array]:
        variables = model.init(key, jnp.zeros((1, *image_shape), jnp.float32), train=False)
        return {name: leaf for name, leaf in named_leaves(variables).items() if name in names}

    return jax.jit(leaves)(key_for(seed, stream=Stream.PARAMETERS))


def load_float(params_from: PyTree, params_into: PyTree) -> PyTree:
    """The values of `params_from` in the structure of `params_into`, leaf by leaf of the same name.

    For parameters and for running statistics; `params_into` may hold shapes only. Learned state of quantizers is not
    copied, since it belongs to their bits: those leaves are those of `params_into`, and `params_from` may lack them.
    Refuses leaves that are missing, left over, or of another shape, naming the first three and their number."""
    source, target = _carried(params_from), _carried(params_into)
    refuse_misfits(source, target)
    return map_named(lambda name, leaf: leaf if is_learned(name) else source[name], params_into)


def refuse_misfits(given: PyTree, wanted: PyTree) -> None:
    """Refuses leaves that are missing, left over, or of another shape, naming the first three and their number."""
    source, target = named_leaves(given), named_leaves(wanted)
    misfits = [
        f"{name} {_shape(source, name)} -> {_shape(target, name)}"
        for name in sorted(source | target)
        if _shape(source, name) != _shape(target, name)
    ]
    if misfits:
        shown = "; ".join(misfits[:SHOWN])
        more = f"; and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise Refusal(f"parameters do not fit the model, {len(misfits)} in all (given -> wanted): {shown}{more}")


def _carried(params: PyTree) -> dict[str, jax.Array]:
    return {name: leaf for name, leaf in named_leaves(params).items() if not is_learned(name)}


def _shape(leaves: dict, name: str) -> str:
    return "x".join(map(str, leaves[name].shape)) or "scalar" if name in leaves else "absent"
