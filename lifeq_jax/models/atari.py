"""Networks of agents; the policies and values of several games are outputs of one classifier."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.initial import Initializer, Orthogonal
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit, DenseUnit

BEFORE_RELU = Orthogonal(2**0.5)


class Filters(NamedTuple):
    """The shape of one convolution."""

    features: int
    size: int
    stride: int


@dataclass(frozen=True)
class HeadInitializer(Initializer):
    """Orthogonal columns, of length 0.01 for actions, so that a fresh policy is nearly uniform, and of length 1 for the
    values, which are the last `num_values` outputs."""

    num_values: int

    def initializer(self) -> Any:
        """Flax's orthogonal initializer, its columns scaled."""

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            return nn.initializers.orthogonal()(key, shape, dtype) * jnp.asarray(self._length(shape), dtype)

        return init

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """A kernel (inputs, outputs) from NumPy."""
        return Orthogonal().draw(generator, shape) * self._length(shape)

    def _length(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.where(np.arange(shape[1]) < shape[1] - self.num_values, 0.01, 1.0)[None]


class AtariNetwork(nn.Module):
    """Convolutions, a linear layer and the classifier; biases and ReLU, no padding, no norm."""

    num_classes: int
    quantizers: Quantizers
    filters: tuple[Filters, ...]
    hidden: int
    num_values: int

    def setup(self) -> None:
        """Names the parts stem, convs_0, convs_1, ..., dense and classifier."""
        roles = ["first"] + ["inner"] * (len(self.filters) - 1)
        self.stem, *convs = (self._conv(role, *each) for role, each in zip(roles, self.filters, strict=True))
        self.convs = convs
        self.dense = DenseUnit(self.hidden, self.quantizers, role="last", kernel_init=BEFORE_RELU)
        self.classifier = Classifier(self.num_classes, self.quantizers, kernel_init=HeadInitializer(self.num_values))

    def _conv(self, role: str, features: int, size: int, stride: int) -> ConvUnit:
        return ConvUnit(
            features,
            size,
            self.quantizers,
            role=role,
            stride=stride,
            function=nn.relu,
            use_norm=False,
            padded=False,
            kernel_init=BEFORE_RELU,
        )

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, hidden), the input of the head. Refuses images smaller than the kernels need."""
        self._check(x)
        for conv in (self.stem, *self.convs):
            x = conv(x, train)
        return self.dense(x.reshape(x.shape[0], -1))

    def _check(self, x: jax.Array) -> None:
        smallest = 1
        for each in reversed(self.filters):
            smallest = (smallest - 1) * each.stride + each.size
        if min(x.shape[1:3]) < smallest:
            given = "x".join(map(str, x.shape[1:3]))
            raise Refusal(f"games.image of {given} is too small for the model; choose {smallest}x{smallest} up")

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, hidden) -> outputs (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> outputs (B, num_classes): actions of all games, and the values last."""
        return self.head(self.features(x, train))


def atari(
    num_classes: int,
    quantizers: Quantizers,
    *,
    axis_name: str | None = None,
    num_values: int | None = None,
    mul: float = 1.0,
    convolutions: int = 3,
    hidden: int = 1024,
) -> AtariNetwork:
    """BLIP's network for Atari, used there with 84x84 images: kernels of 8, 4 and 3, strides of 4, 2 and 1.

    `mul` multiplies the features of the convolutions, 32, 64 and 128; `convolutions` is the number of those used,
    counted from the first; `hidden` is the number of inputs of the heads. `num_values`: how many outputs are values;
    None: none. `axis_name` has no effect. Source: RL/src/ppo_model.py (QCNNBase, QPolicy).

    Example:
        >>> len(lq.models.atari(18, quantizers, convolutions=2).filters)
        2
    """
    own = (Filters(round(32 * mul), 8, 4), Filters(round(64 * mul), 4, 2), Filters(round(128 * mul), 3, 1))
    if not 1 <= convolutions <= len(own):
        raise Refusal(f"recipe.model convolutions={convolutions!r} is no number of layers; choose 1, 2 or 3")
    return _agent(num_classes, quantizers, own[:convolutions], hidden, num_values)


def minatar(
    num_classes: int,
    quantizers: Quantizers,
    *,
    axis_name: str | None = None,
    num_values: int | None = None,
    features: int = 16,
    hidden: int = 128,
) -> AtariNetwork:
    """The network of MinAtar's paper: `features` kernels of 3 and `hidden` linear features; any image from 3x3 up.

    `num_values`: how many outputs are values; None: none. `axis_name` has no effect. Source: Young and Tian, MinAtar,
    2019.

    Example:
        >>> lq.models.minatar(7, quantizers, num_values=1).num_values
        1
    """
    return _agent(num_classes, quantizers, (Filters(features, 3, 1),), hidden, num_values)


def _agent(
    num_classes: int, quantizers: Quantizers, filters: tuple[Filters, ...], hidden: int, num_values: int | None
) -> AtariNetwork:
    if min(hidden, *(each.features for each in filters)) < 1:
        raise Refusal("recipe.model leaves a layer without features; choose larger arguments")
    return AtariNetwork(num_classes, quantizers, filters, hidden, num_values or 0)
