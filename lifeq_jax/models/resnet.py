"""ResNet-50 for 224x224 images with torchvision's shapes and names."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, conv, head
from lifeq_jax.quant.base import Quantizer

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, features, stride of the first block
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to 4 features, each with norm and activation quantizer; ReLU after the sum.

    The shortcut is the identity, or a strided 1x1 convolution with norm and quantizer in a stage's first block."""

    features: int
    stride: int
    project: bool
    weight: Quantizer
    activation: Quantizer
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does."""
        out = EXPANSION * self.features
        self.conv1 = conv(self.features, 1, self.weight)
        self.bn1 = BatchNorm(axis_name=self.axis_name)
        self.conv2 = conv(self.features, 3, self.weight, stride=self.stride)
        self.bn2 = BatchNorm(axis_name=self.axis_name)
        self.conv3 = conv(out, 1, self.weight)
        self.bn3 = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        if self.project:
            self.downsample = [
                conv(out, 1, self.weight, stride=self.stride),
                BatchNorm(axis_name=self.axis_name),
            ]

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), 4 features), not negative."""
        shortcut = x
        if self.project:
            convolution, norm = self.downsample
            shortcut = self.act(norm(convolution(x), train))
        x = nn.relu(self.act(self.bn1(self.conv1(x), train)))
        x = nn.relu(self.act(self.bn2(self.conv2(x), train)))
        return nn.relu(self.act(self.bn3(self.conv3(x), train)) + shortcut)


class ResNet50(nn.Module):
    """7x7 stem of stride 2, 3x3 max pooling, 16 bottlenecks in 4 stages, global average, classifier.

    All convolutions are quantized; the image and the classifier are not."""

    num_classes: int
    weight: Quantizer
    activation: Quantizer
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does, layer1.0 becoming layer1_0."""
        self.conv1 = conv(64, 7, self.weight, stride=2)
        self.bn1 = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            [self._block(features, stride, index) for index in range(blocks)] for blocks, features, stride in STAGES
        )
        self.fc = head(self.num_classes)

    def _block(self, features: int, stride: int, index: int) -> Bottleneck:
        first = index == 0
        return Bottleneck(features, stride if first else 1, first, self.weight, self.activation, self.axis_name)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, 2048), the input of the head; any H, W >= 1 and any C."""
        x = nn.relu(self.act(self.bn1(self.conv1(x), train)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for layer in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = layer(x, train)
        return jnp.mean(x, axis=(1, 2))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, 2048) -> logits (B, num_classes)."""
        return self.fc(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def resnet50(num_classes: int, weight: Quantizer, activation: Quantizer, *, axis_name: str | None = None) -> ResNet50:
    """ResNet-50 with the stride in the 3x3 convolutions; 25,557,032 parameters at 1000 classes."""
    return ResNet50(num_classes, weight, activation, axis_name)
