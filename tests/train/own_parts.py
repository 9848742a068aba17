"""What a user writes to use a network, a quantizer, a loss and a method of their own; the tests copy this file."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, DenseUnit
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.classify import cross_entropy_of_labels
from lifeq_jax.methods.base import Method
from lifeq_jax.quant.base import Codes, Quantizer
from lifeq_jax.quant.rounding import from_grid


class SmallNet(nn.Module):
    """One hidden layer of quantized weights."""

    num_classes: int
    quantizers: Quantizers
    width: int

    def setup(self):
        self.hidden = DenseUnit(self.width, self.quantizers, role="first")
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def features(self, x, train):
        return self.hidden(x.reshape(x.shape[0], -1))

    def head(self, feature):
        return self.classifier(feature)

    def __call__(self, x, train):
        return self.head(self.features(x, train))


def small_net(num_classes: int, quantizers: Quantizers, axis_name: str | None = None, *, width: int = 24) -> SmallNet:
    return SmallNet(num_classes, quantizers, width)


class PlainNet(nn.Module):
    """A Flax module that is no network of ours."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))


def plain_net(num_classes: int, quantizers: Quantizers, axis_name: str | None = None) -> PlainNet:
    return PlainNet(num_classes)


def coarse(bits: int, *, reach: float = 0.5) -> Quantizer:
    steps = 2**bits - 1

    def limited(x: jax.Array) -> jax.Array:
        return jnp.clip(x, -reach, reach)

    def grid(x: jax.Array) -> Codes:
        values = jnp.round((limited(x) / reach + 1) * (steps / 2))
        return Codes(values, jnp.float32(2 * reach / steps), jnp.float32(steps / 2))

    return from_grid(bits, grid, limited)


def smoothed(amount: float = 0.1) -> Loss:
    def loss(examples: Examples) -> jax.Array:
        uniform = -jnp.mean(jax.nn.log_softmax(examples.logits), axis=-1)
        return (1 - amount) * cross_entropy_of_labels(examples.logits, examples.label) + amount * uniform

    return loss


def heavy_replay(weight: float = 2.0) -> Method:
    """Replayed images weigh more, whatever the loss is."""

    def example_loss(state, loss, forward):
        return loss(forward.examples) * jnp.where(forward.batch.is_replay, weight, 1.0)

    return Method(example_loss=example_loss)


def no_method() -> int:
    return 3
