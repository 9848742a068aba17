"""Shared by the tests of quantizers."""

import jax


def vjp_of(function, x, cotangent):
    """function(x), and the gradient that `cotangent` becomes, compiled."""

    @jax.jit
    def found(x, cotangent):
        y, pullback = jax.vjp(function, x)
        return y, pullback(cotangent)[0]

    return jax.device_get(found(x, cotangent))


def value_and_vjp(quantizer, x, cotangent):
    """The quantized x and the gradient that `cotangent` becomes."""
    return vjp_of(lambda a: quantizer.apply({}, a), x, cotangent)
