"""MobileNetV2: torchvision's network for 224x224 images, a form of it for 32x32, and LifeQuant's for 32x32."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.initial import HE_NORMAL, TORCH_UNIFORM, Initializer
from lifeq_jax.layers.quant import QuantAct
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit

# For each group of blocks: expansion, features, blocks, stride of the first block.
Stages = tuple[tuple[int, int, int, int], ...]
ActivationFunction = Callable[[jax.Array], jax.Array]

SMALL_IMAGES: Stages = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
IMAGENET: Stages = (SMALL_IMAGES[0], (6, 24, 2, 2), *SMALL_IMAGES[2:])
STEM, LAST = 32, 1280  # features


def relu6(x: jax.Array) -> jax.Array:
    """x limited to [0, 6]. Holds: the gradient is 0 at 0 and at 6, as in torch; jax.nn.relu6 has 1/2 there."""
    return jnp.where(x < 6, nn.relu(x), jnp.asarray(6, x.dtype))


class Block(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection without activation function; the shortcut's sum is quantized.

    The shortcut exists at stride 1 only. shortcut_kind="conv": always a 1x1 convolution with norm and ReLU, whose
    activation is not quantized, as in LifeQuant mobilenet-v2-cifar-100/model/mobilenetV2.py. "identity": the input
    itself, if it has as many features as the output, and no expansion layer for expansion 1, as in torchvision."""

    features: int
    expansion: int
    stride: int
    quantizers: Quantizers
    in_features: int
    shortcut_kind: str
    axis_name: str | None = None
    kernel_init: Initializer = HE_NORMAL

    def setup(self) -> None:
        """Names the parts expand, depthwise, project, shortcut and sum."""
        unit = _unit(self)
        inner = self.expansion * self.in_features
        if self.shortcut_kind == "conv" or self.expansion != 1:
            self.expand = unit(inner, 1, function=relu6)
        self.depthwise = unit(inner, 3, role="depthwise", stride=self.stride, groups=inner, function=relu6)
        self.project = unit(self.features, 1)
        if self.shortcut_kind == "conv" and self.stride == 1:
            self.shortcut = unit(self.features, 1, function=nn.relu, quantize_act=False)
        self.sum = QuantAct(self.quantizers.activation("sum"))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, in_features) -> (B, ceil(H / stride), ceil(W / stride), features)."""
        expands = self.shortcut_kind == "conv" or self.expansion != 1
        y = self.expand(x, train) if expands else x
        y = self.project(self.depthwise(y, train), train)
        if self.stride != 1:
            return y
        if self.shortcut_kind == "conv":
            return self.sum(y + self.shortcut(x, train))
        return self.sum(y + x) if self.in_features == self.features else y


class MobileNetV2(nn.Module):
    """Stem, the stages' blocks, 1x1 convolution to `last_features`, global average, classifier. No dropout."""

    num_classes: int
    quantizers: Quantizers
    stages: Stages
    stem_features: int
    last_features: int
    stem_stride: int
    shortcut_kind: str
    function: ActivationFunction  # of the stem and of the last convolution
    axis_name: str | None = None
    kernel_init: Initializer = HE_NORMAL

    def setup(self) -> None:
        """Names the parts stem, blocks_0, blocks_1, ..., last and classifier."""
        unit = partial(_unit(self), function=self.function)
        self.stem = unit(self.stem_features, 3, role="first", stride=self.stem_stride)
        blocks, width = [], self.stem_features
        for expansion, features, count, stride in self.stages:
            for index in range(count):
                blocks.append(self._block(features, expansion, stride if index == 0 else 1, width))
                width = features
        self.blocks = blocks
        self.last = unit(self.last_features, 1, role="last")
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def _block(self, features: int, expansion: int, stride: int, in_features: int) -> Block:
        made = features, expansion, stride, self.quantizers, in_features, self.shortcut_kind
        return Block(*made, self.axis_name, self.kernel_init)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, last_features), the input of the head; any H, W >= 1 and any C."""
        x = self.stem(x, train)
        for block in self.blocks:
            x = block(x, train)
        return self.last.pooled(jnp.mean(self.last(x, train), axis=(1, 2)))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, last_features) -> logits (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def _unit(part: Block | MobileNetV2) -> Callable[..., ConvUnit]:
    return partial(ConvUnit, quantizers=part.quantizers, axis_name=part.axis_name, kernel_init=part.kernel_init)


def scaled_features(features: int, width: float) -> int:
    """features * width rounded to the nearest multiple of 8, at least 8, never below 90 % of the product.

    Source: the rule of the MobileNet family, as in torchvision."""
    if not width > 0:
        raise Refusal(f"recipe.model width={width!r} is not a factor of the features; choose a number above 0")
    product = features * width
    rounded = max(8, int(product + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * product else rounded


def _widened(stages: Stages, width: float) -> Stages:
    return tuple(
        (expansion, scaled_features(features, width), count, stride) for expansion, features, count, stride in stages
    )


def mobilenet_v2(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: float = 1.0
) -> MobileNetV2:
    """MobileNetV2 for 224x224 images with torchvision's shapes; 3,504,872 parameters at 1000 classes and width 1.

    `width` multiplies the features of every convolution, those of the last one only if above 1, as in torchvision.

    Example:
        >>> lq.models.mobilenet_v2(1000, quantizers, width=0.5).last_features
        1280
    """
    stem, last = scaled_features(STEM, width), scaled_features(LAST, max(1.0, width))
    stages = _widened(IMAGENET, width)
    return MobileNetV2(num_classes, quantizers, stages, stem, last, 2, "identity", relu6, axis_name)


def mobilenet_v2_32(
    num_classes: int,
    quantizers: Quantizers,
    *,
    axis_name: str | None = None,
    width: float = 1.0,
    stem_stride: int = 1,
) -> MobileNetV2:
    """mobilenet_v2 for 32x32 images: stem and second group of stride 1; stem_stride=2 makes it 4 times cheaper.

    `width` multiplies the features of every convolution, including the last one, which with 1280 features would hold
    most of the parameters of a narrow network.

    Example:
        >>> lq.models.mobilenet_v2_32(10, quantizers, width=0.5).last_features
        640
    """
    stem, last = scaled_features(STEM, width), scaled_features(LAST, width)
    stages = _widened(SMALL_IMAGES, width)
    return MobileNetV2(num_classes, quantizers, stages, stem, last, stem_stride, "identity", relu6, axis_name)


def mobilenet_v2_cifar(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, cfg: Stages = SMALL_IMAGES
) -> MobileNetV2:
    """LifeQuant's MobileNetV2 for 32x32 images: stem of stride 1, convolution shortcuts. Kernels start uniform in
    +-1/sqrt(fan_in).

    `cfg` holds (expansion, features, blocks, stride) of each group. Differs from the original in the global average,
    which equals its 4x4 pooling for 32x32 images and allows other sizes. With the setup "convolutions" and the
    quantizers activation(normalize=True) and proxq(range_=0.5, levels="open") it is the original network.

    Example:
        >>> lq.models.mobilenet_v2_cifar(100, quantizers).num_classes
        100
    """
    return MobileNetV2(num_classes, quantizers, tuple(cfg), STEM, LAST, 1, "conv", nn.relu, axis_name, TORCH_UNIFORM)
