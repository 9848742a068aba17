"""A quantizer with one learned number, simple enough to follow by hand."""

import jax
import jax.numpy as jnp

from lifeq_jax.quant.base import Codes, Quantizer, Ranges, dequantize
from lifeq_jax.quant.rounding import straight_through


def absmax(bits, noisy=False):
    """Integers -n..n, n = 2**(bits - 1) - 1, times the learned scale; its range is the largest magnitude seen."""
    top = 2 ** (bits - 1) - 1

    def learned(magnitude):
        return {"scale": magnitude / top}

    def codes(state, x):
        return Codes(
            jnp.clip(jnp.round(x / state["scale"]), -top, top).astype(jnp.int32), state["scale"], jnp.zeros(())
        )

    def apply(state, x, key=None):
        noise = 0 if key is None else jax.random.uniform(key, x.shape)
        return straight_through(dequantize(codes(state, x)) + noise, x * state["scale"])

    def largest(x):
        return jnp.max(jnp.abs(x))

    ranges = Ranges(lambda x: jnp.zeros(()), lambda found, x: jnp.maximum(found, largest(x)), learned)
    return Quantizer(bits, lambda x: learned(largest(x)), apply, lambda state, x: x, codes, None, ranges, noisy)
