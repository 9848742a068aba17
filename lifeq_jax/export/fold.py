"""Batch norm folded into the convolution before it, for networks that only evaluate.

Training keeps the two apart: the quantizer sees the kernel without the norm's factor. A folded kernel has the same
integers, and one scale per output channel."""

import jax

from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Codes


def norm_factor(scale: jax.Array, var: jax.Array, epsilon: float) -> jax.Array:
    """What an evaluation-mode batch norm multiplies each channel by, (C,): scale / sqrt(var + epsilon)."""
    return scale * jax.lax.rsqrt(var + epsilon)


def fold_norm(
    kernel: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, var: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """(kernel, bias (C,)) of the convolution that equals convolution by `kernel` (..., C) and evaluation-mode norm.

    Source: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (CVPR 2018),
    section 3.2, equation 14."""
    factor = norm_factor(scale, var, epsilon)
    return kernel * _channels(factor, kernel), bias - mean * factor


def fold_codes(codes: Codes, scale: jax.Array, var: jax.Array, epsilon: float) -> Codes:
    """The codes of the folded kernel from those of the kernel (..., C): equal integers and zero, another scale.

    The new scale is of shape (1, .., C), the old one times the norm's factor; it is negative where the factor is."""
    return codes._replace(scale=codes.scale * _channels(norm_factor(scale, var, epsilon), codes.values))


def _channels(factor: jax.Array, kernel: jax.Array) -> jax.Array:
    return factor.reshape(*[1] * (kernel.ndim - 1), -1)


def fold_units(params: PyTree, batch_stats: PyTree, epsilon: float) -> PyTree:
    """`params` with every unit {"conv", "norm", ..} as {"conv": {"kernel", "bias"}, ..}: that of a unit without norm.

    Kernels are taken as they are: quantize them first (quant.codes.quantize), for the learned state of their quantizers
    is left out. Everything else is kept. `epsilon` is that of the network's norms."""
    if not isinstance(params, dict):
        return params
    stats = batch_stats if isinstance(batch_stats, dict) else {}
    folded = {name: fold_units(child, stats.get(name, {}), epsilon) for name, child in params.items()}
    if "conv" in params and "norm" in params:
        kernel, bias = fold_norm(params["conv"]["kernel"], **folded.pop("norm"), **stats["norm"], epsilon=epsilon)
        folded["conv"] = {"kernel": kernel, "bias": bias}
    return folded
