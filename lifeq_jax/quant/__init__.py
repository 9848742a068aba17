"""Quantizers: pure functions from arrays to arrays on a grid, by name.

A maker takes `bits`, 1 to 8, or 32 for the identity, and returns a `Quantizer`. It refuses other bits, and an argument
that is out of range or not one of its choices."""

from collections.abc import Callable

from lifeq_jax.quant import cdf, lsq, proxq, uniform
from lifeq_jax.quant.base import Quantizer

QUANTIZERS: dict[str, Callable[..., Quantizer]] = {
    "activation": uniform.activation,
    "cdf": cdf.cdf,
    "cdf_activation": cdf.cdf_activation,
    "dorefa": uniform.dorefa,
    "lsq": lsq.lsq,
    "minmax": uniform.minmax,
    "proxq": proxq.proxq,
}

globals().update(QUANTIZERS)  # its rows by name: lifeq_jax.quant.lsq(4)
