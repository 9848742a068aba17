"""BLIP's multilayer perceptron for MNIST."""

from functools import partial

import jax
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.initial import LECUN_NORMAL, Initializer
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, DenseUnit


class MLP(nn.Module):
    """`layers` linear layers of `hidden` features with ReLU, and the classifier. No dropout, no norm."""

    num_classes: int
    quantizers: Quantizers
    hidden: int
    layers: int
    kernel_init: Initializer = LECUN_NORMAL

    def setup(self) -> None:
        """Names the parts stem, dense_0, dense_1, ... and classifier."""
        unit = partial(DenseUnit, self.hidden, self.quantizers, kernel_init=self.kernel_init)
        roles = ["inner"] * (self.layers - 2) + ["last"] * (self.layers > 1)
        self.stem = unit(role="first")
        self.dense = [unit(role=role) for role in roles]
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, hidden), the input of the head; any H, W and C. `train` has no effect."""
        x = self.stem(x.reshape(x.shape[0], -1))
        for unit in self.dense:
            x = unit(x)
        return x

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, hidden) -> logits (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def mlp(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, hidden: int = 1200, layers: int = 1
) -> MLP:
    """BLIP's network for MNIST: `layers` hidden layers of `hidden` features, one of 1200 in the original.

    Kernels start as N(0, 1 / fan_in), biases as 0. A single hidden layer has the role "first". `axis_name` has no
    effect. Source: ImageClassification/src/networks/q_mlp.py.

    Example:
        >>> lq.models.mlp(10, quantizers, hidden=64, layers=2).layers
        2
    """
    for name, value in (("hidden", hidden), ("layers", layers)):
        if value < 1:
            raise Refusal(f"recipe.model {name}={value!r} leaves nothing to train; choose a number from 1 up")
    return MLP(num_classes, quantizers, hidden, layers)
