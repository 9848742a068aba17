"""Networks of inverted residuals, shared by MobileNetV3 and EfficientNet-Lite."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit
from lifeq_jax.models.mobilenet_v2 import ActivationFunction, relu6


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """relu6(x + 3) / 6, any shape. Source: Searching for MobileNetV3 (ICCV 2019), section 5.2."""
    return relu6(x + 3) / 6


class BlockShape(NamedTuple):
    """The shape of one inverted residual block."""

    size: int  # of the depthwise convolution
    inner: int  # features of the depthwise convolution; no expansion if the input has the same number
    features: int
    stride: int
    function: ActivationFunction  # after expansion and depthwise convolution
    squeezed: int = 0  # features between the two convolutions of squeeze and excitation; 0: no squeeze and excitation


class Block(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze and excitation, 1x1 projection; plus the input if shapes agree.

    The squeezed average stays on the grid of the depthwise unit. The product with the excitation has a quantizer of the
    role "sum", like the residual addition, since neither is the output of a layer."""

    shape: BlockShape
    in_features: int
    quantizers: Quantizers
    make_norm: Callable[..., BatchNorm] = BatchNorm
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the units expand, depthwise, squeeze, excite and project, and the quantizers product and sum."""
        size, inner, features, stride, function, squeezed = self.shape
        unit = partial(ConvUnit, quantizers=self.quantizers, axis_name=self.axis_name, make_norm=self.make_norm)
        if inner != self.in_features:
            self.expand = unit(inner, 1, function=function)
        self.depthwise = unit(inner, size, role="depthwise", stride=stride, groups=inner, function=function)
        if squeezed:
            self.squeeze = unit(squeezed, 1, function=nn.relu, use_norm=False)
            self.excite = unit(inner, 1, function=hard_sigmoid, use_norm=False)
            self.product = QuantAct(self.quantizers.activation("sum"))
        self.project = unit(features, 1)
        if self.is_residual:
            self.sum = QuantAct(self.quantizers.activation("sum"))

    @property
    def is_residual(self) -> bool:
        """Whether the input is added."""
        return self.shape.stride == 1 and self.shape.features == self.in_features

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, in_features) -> (B, ceil(H / stride), ceil(W / stride), features)."""
        y = self.expand(x, train) if self.shape.inner != self.in_features else x
        y = self.depthwise(y, train)
        if self.shape.squeezed:
            average = self.depthwise.pooled(jnp.mean(y, axis=(1, 2), keepdims=True))
            y = self.product(y * self.excite(self.squeeze(average, train), train))
        y = self.project(y, train)
        return self.sum(x + y) if self.is_residual else y


class InvertedResidualNetwork(nn.Module):
    """3x3 stem, blocks, 1x1 convolution, global average, a hidden layer if `hidden` is not 0, classifier.

    The average stays on the grid of the pooled unit; in the original EfficientNet-Lite it is not quantized. The hidden
    layer is a 1x1 convolution with a bias on the pooled image, before the classifier. No dropout."""

    num_classes: int
    quantizers: Quantizers
    stem_features: int
    stem_stride: int
    shapes: tuple[BlockShape, ...]
    last_features: int
    function: ActivationFunction  # of the stem and of the layers after the blocks
    hidden: int = 0
    make_norm: Callable[..., BatchNorm] = BatchNorm
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the parts stem, blocks_0, blocks_1, ..., last, hidden_layer and classifier."""
        unit = partial(self._shared(ConvUnit), function=self.function)
        self.stem = unit(self.stem_features, 3, role="first", stride=self.stem_stride)
        widths = (self.stem_features, *(shape.features for shape in self.shapes))
        block = self._shared(Block)
        self.blocks = [block(shape, width) for shape, width in zip(self.shapes, widths, strict=False)]
        self.last = unit(self.last_features, 1, role="inner" if self.hidden else "last")
        if self.hidden:
            self.hidden_layer = unit(self.hidden, 1, role="last", use_norm=False)
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def _shared(self, maker: Callable) -> Callable:
        return partial(maker, quantizers=self.quantizers, make_norm=self.make_norm, axis_name=self.axis_name)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, hidden or last_features), the input of the head; any H, W >= 1 and any C."""
        x = self.stem(x, train)
        for block in self.blocks:
            x = block(x, train)
        x = self.last.pooled(jnp.mean(self.last(x, train), axis=(1, 2), keepdims=True))
        return jnp.squeeze(self.hidden_layer(x, train) if self.hidden else x, axis=(1, 2))

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, features) -> logits (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))
