"""Quantizers: pure functions from arrays to arrays on a grid, by name."""

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
