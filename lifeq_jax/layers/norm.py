"""Batch normalization with torch's conventions, which the original networks were trained with."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.initial import ONES, ZEROS


def batch_moments(x: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array, int]:
    """Mean (C,), biased variance (C,) and the number of values per channel of x (..., C), over all axes but the last.

    With `axis_name`, over all devices of that mapped axis. Two passes: E[x^2] - E[x]^2 would lose digits."""

    def average(values: jax.Array) -> jax.Array:
        local = jnp.mean(values, axis=tuple(range(values.ndim - 1)))
        return local if axis_name is None else jax.lax.pmean(local, axis_name)

    mean = average(x)
    variance = average(jnp.square(x - jnp.expand_dims(mean, range(x.ndim - 1))))
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    return mean, variance, x.size // x.shape[-1] * devices


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias per channel, channels last, float32.

    Training uses the batch's biased variance and moves the running statistics, `mean` and `var` in the collection
    batch_stats, by momentum * (batch - running) with the unbiased variance; evaluation uses the running ones.
    `axis_name` synchronizes the batch statistics over a mapped axis. If the collection "moments" is mutable, the
    batch's mean and unbiased variance are stored in it. affine=False: no scale, no bias. Source:
    torch.nn.BatchNorm2d."""

    momentum: float = 0.1
    epsilon: float = 1e-5
    axis_name: str | None = None
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """x (..., C) normalized; train=True needs batch_stats mutable."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", ZEROS, None, shape)
        running_var = self.variable("batch_stats", "var", ONES, None, shape)
        mean, variance = running_mean.value, running_var.value
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, variance, count = batch_moments(x, axis_name)
            if not self.is_initializing():
                unbiased = variance * (count / max(count - 1, 1))
                running_mean.value += self.momentum * (mean - running_mean.value)
                running_var.value += self.momentum * (unbiased - running_var.value)
                if self.is_mutable_collection("moments"):
                    self.put_variable("moments", "mean", mean)
                    self.put_variable("moments", "var", unbiased)
        leading = range(x.ndim - 1)
        factor = jax.lax.rsqrt(variance + self.epsilon)
        centered = x - jnp.expand_dims(mean, leading)
        if not self.affine:
            return centered * jnp.expand_dims(factor, leading)
        scale = self.param("scale", ONES, shape)
        bias = self.param("bias", ZEROS, shape)
        return centered * jnp.expand_dims(scale * factor, leading) + jnp.expand_dims(bias, leading)
