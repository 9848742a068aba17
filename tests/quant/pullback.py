"""Shared by the tests of quantizers."""

import jax
import jax.numpy as jnp


def value_and_vjp(quantizer, x, cotangent):
    """The quantized x and the gradient that `cotangent` becomes."""
    y, pullback = jax.vjp(lambda a: quantizer.apply({}, a), jnp.asarray(x))
    return y, pullback(jnp.asarray(cotangent))[0]
