"""Shared by the tests of quantizers."""

import jax
import jax.numpy as jnp
import numpy as np


def vjp_of(function, x, cotangent):
    """function(x), and the gradient that `cotangent` becomes."""
    y, pullback = jax.vjp(function, jnp.asarray(x))
    return np.asarray(y), pullback(jnp.asarray(cotangent))[0]


def value_and_vjp(quantizer, x, cotangent):
    """The quantized x and the gradient that `cotangent` becomes."""
    return vjp_of(lambda a: quantizer.apply({}, a), x, cotangent)
