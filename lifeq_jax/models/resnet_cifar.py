"""ResNet-20 and ResNet-56 for small images, as LifeQuant and ClimbQ build them."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, conv, head
from lifeq_jax.quant.base import Quantizer


class Block(nn.Module):
    """Two 3x3 convolutions, each followed by norm and activation quantizer, and a shortcut; ends in a ReLU.

    The quantizer stands before the ReLU, so an activation quantized to 0 gets no gradient. The shortcut is the
    identity at stride 1, otherwise a strided 1x1 convolution with norm and quantizer. The sum is not quantized
    again. Source: PreActBlock_conv_Q in LifeQuant resnet-20-cifar-100/model/resnet.py."""

    features: int
    stride: int
    weight: Quantizer
    activation: Quantizer
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does."""
        self.conv0 = conv(self.features, 3, self.weight, stride=self.stride)
        self.bn0 = BatchNorm(axis_name=self.axis_name)
        self.conv1 = conv(self.features, 3, self.weight)
        self.bn1 = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        if self.stride != 1:
            self.skip_conv = conv(self.features, 1, self.weight, stride=self.stride)
            self.skip_bn = BatchNorm(axis_name=self.axis_name)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), features), not negative."""
        shortcut = x if self.stride == 1 else self.act(self.skip_bn(self.skip_conv(x), train))
        x = nn.relu(self.act(self.bn0(self.conv0(x), train)))
        return nn.relu(self.act(self.bn1(self.conv1(x), train)) + shortcut)


class ResNetCifar(nn.Module):
    """Stem, three stages of `blocks` blocks at width, 2 width and 4 width, global average, classifier.

    All convolutions are quantized, the first one and the shortcuts too; the image and the classifier are not."""

    num_classes: int
    weight: Quantizer
    activation: Quantizer
    blocks: int
    width: int = 16
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does, layers.3 becoming layers_3."""
        self.conv0 = conv(self.width, 3, self.weight)
        self.bn = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        self.layers = [self._block(stage, index) for stage in range(3) for index in range(self.blocks)]
        self.logit = head(self.num_classes)

    def _block(self, stage: int, index: int) -> Block:
        stride = 2 if stage > 0 and index == 0 else 1
        return Block(self.width * 2**stage, stride, self.weight, self.activation, self.axis_name)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, 4 width), the input of the head; any H, W >= 1 and any C."""
        x = nn.relu(self.act(self.bn(self.conv0(x), train)))
        for layer in self.layers:
            x = layer(x, train)
        return jnp.mean(x, axis=(1, 2))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, 4 width) -> logits (B, num_classes)."""
        return self.logit(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def resnet8(
    num_classes: int,
    weight: Quantizer,
    activation: Quantizer,
    *,
    axis_name: str | None = None,
    width: int = 16,
) -> ResNetCifar:
    """ResNet-8: 1 block a stage, otherwise as ResNet-20; for small images and quick trials."""
    return ResNetCifar(num_classes, weight, activation, blocks=1, width=width, axis_name=axis_name)


def resnet20(
    num_classes: int,
    weight: Quantizer,
    activation: Quantizer,
    *,
    axis_name: str | None = None,
    width: int = 16,
) -> ResNetCifar:
    """ResNet-20: 3 blocks a stage; 272,474 parameters for 3 channels, 10 classes and width 16."""
    return ResNetCifar(num_classes, weight, activation, blocks=3, width=width, axis_name=axis_name)


def resnet56(
    num_classes: int,
    weight: Quantizer,
    activation: Quantizer,
    *,
    axis_name: str | None = None,
    width: int = 16,
) -> ResNetCifar:
    """ResNet-56: 9 blocks a stage, otherwise as ResNet-20."""
    return ResNetCifar(num_classes, weight, activation, blocks=9, width=width, axis_name=axis_name)
