"""Distributions of fresh kernels, drawn by Flax or by NumPy."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from flax import linen as nn


class Initial(NamedTuple):
    """Mean 0 and variance scale / fan, of a kernel (..., in, out): a convolution's HWIO or a linear layer's."""

    scale: float
    fan: Literal["fan_in", "fan_out"]  # fan_in: what one output sums over; fan_out: what one input goes to
    kind: Literal["normal", "uniform"]

    def initializer(self) -> Callable:
        """As an initializer of Flax."""
        return nn.initializers.variance_scaling(self.scale, self.fan, self.kind)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A kernel from NumPy, float64, of the same distribution as the initializer's."""
        fan = math.prod(shape[:-2]) * shape[-2 if self.fan == "fan_in" else -1]
        if self.kind == "normal":
            return generator.normal(0.0, np.sqrt(self.scale / fan), shape)
        return generator.uniform(-1.0, 1.0, shape) / np.sqrt(fan / (3 * self.scale))


HE_NORMAL = Initial(2.0, "fan_out", "normal")
LECUN_NORMAL = Initial(1.0, "fan_in", "normal")
# torch's default of convolutions and linear layers: +-1/sqrt(fan_in)
TORCH_UNIFORM = Initial(1 / 3, "fan_in", "uniform")
