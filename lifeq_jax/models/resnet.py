"""ResNets: the blocks that all of them share, and torchvision's ResNet-18 and ResNet-50 for 224x224 images."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.initial import HE_NORMAL, Initializer
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit

EXPANSION = 4  # of a bottleneck's output over its inner features


class Stem(NamedTuple):
    """The first convolution, and whether 3x3 max pooling of stride 2 follows."""

    size: int
    stride: int
    pools: bool = False


LARGE_IMAGES = Stem(7, 2, pools=True)


class Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck (1x1, 3x3, 1x1 to 4 features), and a shortcut; their sum ends in a ReLU.

    Each convolution has norm and activation quantizer, and all but the last a ReLU. `stride` is that of the first 3x3
    convolution. The shortcut is the identity, or with `project` a strided 1x1 convolution with norm and quantizer. In
    the setup "convolutions" the quantizer comes before the ReLU, so an activation quantized to 0 gets no gradient.
    Sources: torchvision; PreActBlock_conv_Q in LifeQuant resnet-20-cifar-100/model/resnet.py."""

    features: int
    stride: int
    project: bool
    quantizers: Quantizers
    bottleneck: bool = False
    is_last: bool = False  # the block whose output is pooled
    axis_name: str | None = None
    make_norm: Callable[..., BatchNorm] = BatchNorm
    kernel_init: Initializer = HE_NORMAL

    def setup(self) -> None:
        """Names the parts units_0, units_1, ..., shortcut and sum."""
        unit = partial(
            ConvUnit,
            quantizers=self.quantizers,
            axis_name=self.axis_name,
            make_norm=self.make_norm,
            kernel_init=self.kernel_init,
        )
        inner = partial(unit, self.features, function=nn.relu)
        role, act_role = ("last", "last_sum") if self.is_last else ("inner", "sum")
        out = EXPANSION * self.features if self.bottleneck else self.features
        if self.bottleneck:
            self.units = [inner(1), inner(3, stride=self.stride), unit(out, 1, role=role)]
        else:
            self.units = [inner(3, stride=self.stride), unit(out, 3, role=role)]
        if self.project:
            self.shortcut = unit(out, 1, stride=self.stride)
        self.sum = QuantAct(self.quantizers.activation(act_role))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), features or 4 features)."""
        shortcut = self.shortcut(x, train) if self.project else x
        for unit in self.units:
            x = unit(x, train)
        return self.sum(nn.relu(x + shortcut))

    def pooled(self, x: jax.Array) -> jax.Array:
        """An average x of the block's outputs, put on the grid of its output quantizer if it has one."""
        return self.sum(x)


class ResNet(nn.Module):
    """Stem, stages of blocks, average, classifier; each stage has twice the features of the one before.

    From the second stage on the first block has stride 2. A block projects its shortcut where its shape changes."""

    num_classes: int
    quantizers: Quantizers
    blocks_of_stage: tuple[int, ...]
    width: float  # features of the stem and of the first stage; rounded down in each stage
    bottleneck: bool = False
    stem_shape: Stem = Stem(3, 1)
    axis_name: str | None = None
    make_norm: Callable[..., BatchNorm] = BatchNorm
    kernel_init: Initializer = HE_NORMAL
    window: int = 0  # side of the top left part of the last feature map that is averaged; 0: the whole map

    def setup(self) -> None:
        """Names the parts stem, blocks_0, blocks_1, ... (across the stages) and classifier."""
        self.stem = ConvUnit(
            int(self.width),
            self.stem_shape.size,
            self.quantizers,
            role="first",
            stride=self.stem_shape.stride,
            function=nn.relu,
            axis_name=self.axis_name,
            make_norm=self.make_norm,
            kernel_init=self.kernel_init,
        )
        places = [(stage, index) for stage, count in enumerate(self.blocks_of_stage) for index in range(count)]
        self.blocks = [self._block(stage, index, (stage, index) == places[-1]) for stage, index in places]
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def _block(self, stage: int, index: int, is_last: bool) -> Block:
        stride = 2 if stage > 0 and index == 0 else 1
        return Block(
            int(self.width * 2**stage),
            stride,
            stride != 1 or (self.bottleneck and index == 0),
            self.quantizers,
            self.bottleneck,
            is_last,
            self.axis_name,
            self.make_norm,
            self.kernel_init,
        )

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, F), the input of the head; any H, W >= 1 and any C."""
        x = self.stem(x, train)
        if self.stem_shape.pools:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x, train)
        if self.window:
            x = x[:, : self.window, : self.window]
        return self.blocks[-1].pooled(jnp.mean(x, axis=(1, 2)))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, F) -> logits (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def resnet18(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None) -> ResNet:
    """ResNet-18 with torchvision's shapes; 11,689,512 parameters at 1000 classes.

    Example:
        >>> lq.models.resnet18(1000, quantizers).width
        64
    """
    return ResNet(num_classes, quantizers, (2, 2, 2, 2), 64, stem_shape=LARGE_IMAGES, axis_name=axis_name)


def resnet50(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None) -> ResNet:
    """ResNet-50 with torchvision's shapes, stride in the 3x3 convolutions; 25,557,032 parameters at 1000 classes.

    Example:
        >>> lq.models.resnet50(1000, quantizers).width
        64
    """
    return ResNet(
        num_classes, quantizers, (3, 4, 6, 3), 64, bottleneck=True, stem_shape=LARGE_IMAGES, axis_name=axis_name
    )
