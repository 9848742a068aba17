"""ProxQ's proximal step: weights drawn toward the standard space after every update."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.proxq import standardize


class Proximal(NamedTuple):
    """The state of `proximal_step`: data, so that all strengths share one compiled step."""

    strength: jax.Array  # () float32


def pull(weight: jax.Array, strength: float | jax.Array, range_: float = 2.0) -> jax.Array:
    """(w + s P(w)) / (1 + s), P(w) = (w - mean) / std * range_ / 4: the minimizer v of |v - w|^2 + s |v - P(w)|^2.

    `weight` is one tensor of at least 2 elements; its shape is kept. Holds: the new mean is mean / (1 + s), the new
    (unbiased) standard deviation (std + s range_ / 4) / (1 + s); s = inf gives P(w). The map is affine and increasing,
    so the codes of the ProxQ quantizer at 2 bits and more stay the same; what changes is the size of the next gradient
    step relative to the weights. At 1 bit, and under other quantizers, codes can change."""
    share = 1.0 / (1.0 + 1.0 / jnp.float32(strength))  # s / (1 + s), which is 1 for s = inf
    return (1.0 - share) * weight + share * standardize(weight, range_)


def proximal_step(strength: float, range_: float = 2.0) -> optax.GradientTransformationExtraArgs:
    """Lands every quantized kernel on `pull(param + update)`; all other leaves keep their update. Must be last.

    `update` takes `quantized=`, a tree of Python bools like the parameters (static: it chooses what is computed).
    Source: ProxQ of LifeQuant (ICCV 2023), where the hard normalization is strength = inf. Refuses strength < 0."""
    if not strength >= 0:
        raise Refusal(f"proximal strength={strength!r} is not a number from 0 to inf")

    def update(updates: PyTree, state: Proximal, params: PyTree = None, *, quantized: PyTree, **_):
        def land(update: jax.Array, param: jax.Array, is_quantized: bool) -> jax.Array:
            return pull(param + update, state.strength, range_) - param if is_quantized else update

        return jax.tree.map(land, updates, params, quantized), state

    return optax.GradientTransformationExtraArgs(lambda params: Proximal(jnp.float32(strength)), update)
