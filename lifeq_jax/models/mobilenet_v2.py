"""MobileNetV2: LifeQuant's network for 32x32 images and torchvision's for 224x224."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, conv, head
from lifeq_jax.quant.base import Quantizer

# Of each stage: expansion, features, blocks, stride of the first block.
Stages = tuple[tuple[int, int, int, int], ...]

CIFAR: Stages = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
IMAGENET: Stages = (CIFAR[0], (6, 24, 2, 2), *CIFAR[2:])


def relu6(x: jax.Array) -> jax.Array:
    """x limited to [0, 6]. Holds: the gradient is 0 at 0 and at 6, as in torch; jax.nn.relu6 has 1/2 there."""
    return jnp.where(x < 6, nn.relu(x), jnp.asarray(6, x.dtype))


class Block(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection without ReLU, each with norm and activation quantizer.

    The shortcut exists at stride 1 only. shortcut="conv": always a 1x1 convolution with norm and ReLU, whose
    activation is not quantized, as in LifeQuant mobilenet-v2-cifar-100/model/mobilenetV2.py. shortcut="identity": the
    input itself, where its features are those of the output, and no expansion by 1, as in torchvision."""

    features: int
    expansion: int
    stride: int
    weight: Quantizer
    activation: Quantizer
    in_features: int
    shortcut_kind: str
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does."""
        inner = self.expansion * self.in_features
        if self.expands:
            self.conv1 = conv(inner, 1, self.weight)
            self.bn1 = BatchNorm(axis_name=self.axis_name)
        self.conv2 = conv(inner, 3, self.weight, stride=self.stride, groups=inner)
        self.bn2 = BatchNorm(axis_name=self.axis_name)
        self.conv3 = conv(self.features, 1, self.weight)
        self.bn3 = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        if self.shortcut_kind == "conv" and self.stride == 1:
            self.shortcut = [conv(self.features, 1, self.weight), BatchNorm(axis_name=self.axis_name)]

    @property
    def expands(self) -> bool:
        """Whether the 1x1 expansion is there."""
        return self.shortcut_kind == "conv" or self.expansion != 1

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, in_features) -> (B, ceil(H / stride), ceil(W / stride), features)."""
        y = relu6(self.act(self.bn1(self.conv1(x), train))) if self.expands else x
        y = relu6(self.act(self.bn2(self.conv2(y), train)))
        y = self.act(self.bn3(self.conv3(y), train))
        if self.stride != 1:
            return y
        if self.shortcut_kind == "conv":
            convolution, norm = self.shortcut
            return y + nn.relu(norm(convolution(x), train))
        return y + x if self.in_features == self.features else y


class MobileNetV2(nn.Module):
    """Stem of 32 features, the stages' blocks, 1x1 convolution to 1280 features, global average, classifier.

    All convolutions are quantized; the image and the classifier are not. No dropout."""

    num_classes: int
    weight: Quantizer
    activation: Quantizer
    stages: Stages
    stem_stride: int
    shortcut_kind: str
    relu: Callable[[jax.Array], jax.Array]  # of the stem and of the last convolution
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the layers as the torch state_dict does, layers.3 becoming layers_3."""
        self.conv1 = conv(32, 3, self.weight, stride=self.stem_stride)
        self.bn1 = BatchNorm(axis_name=self.axis_name)
        self.act = QuantAct(self.activation)
        layers, width = [], 32
        for expansion, features, blocks, stride in self.stages:
            for index in range(blocks):
                layers.append(self._block(features, expansion, stride if index == 0 else 1, width))
                width = features
        self.layers = layers
        self.conv2 = conv(1280, 1, self.weight)
        self.bn2 = BatchNorm(axis_name=self.axis_name)
        self.logit = head(self.num_classes)

    def _block(self, features: int, expansion: int, stride: int, in_features: int) -> Block:
        return Block(
            features,
            expansion,
            stride,
            self.weight,
            self.activation,
            in_features,
            self.shortcut_kind,
            self.axis_name,
        )

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, 1280), the input of the head; any H, W >= 1 and any C."""
        x = self.relu(self.act(self.bn1(self.conv1(x), train)))
        for layer in self.layers:
            x = layer(x, train)
        x = self.relu(self.act(self.bn2(self.conv2(x), train)))
        return jnp.mean(x, axis=(1, 2))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, 1280) -> logits (B, num_classes)."""
        return self.logit(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def mobilenet_v2_cifar(
    num_classes: int,
    weight: Quantizer,
    activation: Quantizer,
    *,
    axis_name: str | None = None,
    cfg: Stages = CIFAR,
) -> MobileNetV2:
    """LifeQuant's MobileNetV2 for 32x32 images: stem of stride 1, convolution shortcuts.

    `cfg` holds (expansion, features, blocks, stride) of each stage. Differs from the original in the global average,
    which is its 4x4 pooling for 32x32 images and lets other sizes in. With the quantizers activation(normalize=True)
    and proxq(range_=0.5, levels="open") it is the original network."""
    return MobileNetV2(num_classes, weight, activation, tuple(cfg), 1, "conv", nn.relu, axis_name)


def mobilenet_v2(
    num_classes: int, weight: Quantizer, activation: Quantizer, *, axis_name: str | None = None
) -> MobileNetV2:
    """MobileNetV2 for 224x224 images with torchvision's shapes; 3,504,872 parameters at 1000 classes."""
    return MobileNetV2(num_classes, weight, activation, IMAGENET, 2, "identity", relu6, axis_name)
