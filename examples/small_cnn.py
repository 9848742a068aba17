"""A network as a user writes it: lifeq-jax train RECIPE --model.name examples/small_cnn.py:small_cnn"""

import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit


class SmallCNN(nn.Module):
    num_classes: int
    quantizers: Quantizers  # which bits where: the recipe's quant_setup decides by the units' roles
    axis_name: str | None  # of the devices that share a batch, for batch norm
    width: int

    def setup(self):
        def unit(features, **given):  # convolution, batch norm, ReLU, activation quantizer
            return ConvUnit(features, 3, self.quantizers, function=nn.relu, axis_name=self.axis_name, **given)

        self.stem = unit(self.width, role="first")
        self.down = unit(2 * self.width, stride=2)
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def features(self, x, train):
        return jnp.mean(self.down(self.stem(x, train), train), axis=(1, 2))

    def head(self, feature):
        return self.classifier(feature)

    def __call__(self, x, train):
        return self.head(self.features(x, train))


def small_cnn(num_classes, quantizers, axis_name=None, *, width: int = 16):
    return SmallCNN(num_classes, quantizers, axis_name, width)
