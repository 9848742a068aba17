"""Initializers of Flax that NumPy can draw from as well.

Compiling Flax's initializers for a whole network takes seconds; drawing the same distributions in NumPy takes
milliseconds. A layer states its initializer once, as an `Initializer`; `stated` records which leaf got which."""

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree

_MADE: ContextVar[list[tuple[jax.Array, "Initializer"]] | None] = ContextVar("made", default=None)


class Initializer(abc.ABC):
    """A Flax initializer, (key, shape, dtype) -> array, with `draw` for the same distribution in NumPy."""

    @abc.abstractmethod
    def initializer(self) -> Any:
        """The initializer of Flax that a call runs."""

    @abc.abstractmethod
    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """An array from NumPy, float64, of the same distribution."""

    def __call__(self, key: jax.Array | None, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        """As an initializer of Flax."""
        made = _MADE.get()
        if made is None:
            return self.initializer()(key, shape, dtype)
        value = jnp.zeros(shape, dtype)  # of which only the shape is looked at: random draws take long to trace
        made.append((value, self))
        return value


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Mean 0 and variance scale / fan, of a kernel (..., in, out): a convolution's HWIO or a linear layer's."""

    scale: float
    fan: Literal["fan_in", "fan_out"]  # fan_in: what one output sums over; fan_out: what one input goes to
    kind: Literal["normal", "uniform"]

    def initializer(self) -> Any:
        """nn.initializers.variance_scaling."""
        return nn.initializers.variance_scaling(self.scale, self.fan, self.kind)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A kernel from NumPy."""
        fan = math.prod(shape[:-2]) * shape[-2 if self.fan == "fan_in" else -1]
        if self.kind == "normal":
            return generator.normal(0.0, np.sqrt(self.scale / fan), shape)
        return generator.uniform(-1.0, 1.0, shape) / np.sqrt(fan / (3 * self.scale))


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """`gain` times a kernel (..., out) that, as a matrix (inputs, out), is uniform among those with orthonormal columns
    (orthonormal rows where inputs < out). Source: Saxe et al., ICLR 2014."""

    gain: float = 1.0

    def initializer(self) -> Any:
        """nn.initializers.orthogonal."""
        return nn.initializers.orthogonal(self.gain)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A kernel from NumPy, equal on all machines but for the rounding of their linear algebra."""
        inputs, outputs = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(generator.normal(size=(max(inputs, outputs), min(inputs, outputs))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # the sign that QR chooses would make the distribution not uniform
        return self.gain * (q if inputs >= outputs else q.T).reshape(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere."""

    value: float

    def initializer(self) -> Any:
        """nn.initializers.constant."""
        return nn.initializers.constant(self.value)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """An array of the value; draws nothing."""
        return np.full(shape, self.value)


HE_NORMAL = VarianceScaling(2.0, "fan_out", "normal")
LECUN_NORMAL = VarianceScaling(1.0, "fan_in", "normal")
# torch's default of convolutions and linear layers: +-1/sqrt(fan_in)
TORCH_UNIFORM = VarianceScaling(1 / 3, "fan_in", "uniform")
ZEROS, ONES = Constant(0.0), Constant(1.0)


@contextmanager
def stated() -> Iterator[Any]:
    """While the block runs, records the arrays that Initializers make, and lets them be zeros. Yields a function from a
    tree to {leaf name: Initializer}, for those leaves that are such arrays themselves, not computed from them."""
    made: list[tuple[jax.Array, Initializer]] = []
    token = _MADE.set(made)

    def of(tree: PyTree) -> dict[str, Initializer]:
        origin = {id(value): initializer for value, initializer in made}
        return {name: origin[id(leaf)] for name, leaf in named_leaves(tree).items() if id(leaf) in origin}

    try:
        yield of
    finally:
        _MADE.reset(token)
