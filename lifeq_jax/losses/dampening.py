"""Oscillation dampening: latent weights pulled toward the grid point they are rounded to."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

AGGREGATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sum": jnp.sum,
    "mean": jnp.mean,
    "kernel_mean": lambda squares: jnp.sum(squares) / (squares.size // squares.shape[-1]),
}
"""How the squares of one kernel become a number. kernel_mean: sum over the output channels, mean over the rest."""


def dampening(value: jax.Array, relaxed: jax.Array, aggregation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`aggregation` (a row of AGGREGATIONS) of (value - relaxed)^2, a scalar, in squared units of the weights.

    value: a quantized kernel, (..., out), the target, without a gradient. relaxed: the latent kernel limited to the
    grid's range (`Quantizer.relax`), so weights beyond the grid add nothing and are not pulled. The quantizer's scale
    gets no gradient from this loss. Source: Nagel et al., ICML 2022 (L_dampen)."""
    return aggregation(jnp.square(jax.lax.stop_gradient(value) - relaxed))
