"""BLIP's AlexNets for 32x32 and 84x84 images."""

import math
from functools import partial

import jax
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.initial import LECUN_NORMAL, TORCH_UNIFORM, Initializer
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit, DenseUnit

FEATURES = (64, 128, 256)  # of the convolutions
EARLY = 0.2  # dropout rate after the first and the second convolution


class AlexNet(nn.Module):
    """Three convolutions with 2x2 max pooling, two linear layers, classifier; biases, no padding, no norm.

    Each layer but the classifier ends in ReLU and dropout, which is active if the random stream "dropout" is given, as
    in training, and scales the kept values by 1 / (1 - rate)."""

    num_classes: int
    quantizers: Quantizers
    sizes: tuple[int, int, int]  # of the kernels
    convolutions: tuple[int, int, int]  # features
    linear: tuple[int, int]  # features
    late: float  # dropout rate after the third convolution and the linear layers
    kernel_init: Initializer
    axis_name: str | None = None

    def setup(self) -> None:
        """Names the parts stem, convs_0, convs_1, dense_0, dense_1 and classifier."""
        conv = partial(
            ConvUnit,
            quantizers=self.quantizers,
            function=nn.relu,
            use_norm=False,
            padded=False,
            kernel_init=self.kernel_init,
            axis_name=self.axis_name,
        )
        dense = partial(DenseUnit, quantizers=self.quantizers, kernel_init=self.kernel_init)
        first, *others = zip(self.convolutions, self.sizes, strict=True)
        self.stem = conv(*first, role="first")
        self.convs = [conv(*other) for other in others]
        self.dense = [dense(self.linear[0]), dense(self.linear[1], role="last")]
        self.drops = [nn.Dropout(rate) for rate in (EARLY, EARLY, self.late, self.late, self.late)]
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def features(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, linear[1]), the input of the head. Refuses images smaller than the kernels need."""
        self._check(x)
        still = not self.has_rng("dropout")
        for conv, drop in zip((self.stem, *self.convs), self.drops[:3], strict=True):
            x = nn.max_pool(drop(conv(x, train), deterministic=still), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for dense, drop in zip(self.dense, self.drops[3:], strict=True):
            x = drop(dense(x), deterministic=still)
        return x

    def _check(self, x: jax.Array) -> None:
        smallest = 1
        for size in reversed(self.sizes):
            smallest = 2 * smallest + size - 1
        if min(x.shape[1:3]) < smallest:
            given = "x".join(map(str, x.shape[1:3]))
            raise Refusal(f"recipe.data images of {given} are too small for the model; choose {smallest}x{smallest} up")

    def head(self, feature: jax.Array) -> jax.Array:
        """(B, linear[1]) -> logits (B, num_classes)."""
        return self.classifier(feature)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> logits (B, num_classes)."""
        return self.head(self.features(x, train))


def multiplied(mul: float) -> tuple[int, int, int]:
    """The features of the convolutions times `mul`, rounded to the nearest. Refuses a product that rounds to 0."""
    if not 1 / 128 < mul < math.inf:
        raise Refusal(f"recipe.model mul={mul!r} is not a factor of 64 features; choose a number above 1/128")
    first, second, third = (round(features * mul) for features in FEATURES)
    return first, second, third


def alexnet_32(
    num_classes: int,
    quantizers: Quantizers,
    *,
    axis_name: str | None = None,
    mul: float = 1.0,
    hidden: int = 2048,
) -> AlexNet:
    """BLIP's AlexNet for 32x32 images: kernels of 4, 3 and 2, dropout 0.2 everywhere.

    `mul` multiplies the features of the convolutions; both linear layers have `hidden` features. The original has mul 2
    and hidden 2048 for CIFAR, mul 0.8 and 1638 for the five data sets. Kernels start as N(0, 1 / fan_in), biases as 0.
    Source: ImageClassification/src/networks/q_alexnet.py.

    Example:
        >>> lq.models.alexnet_32(10, quantizers, mul=2.0).convolutions
        (128, 256, 512)
    """
    if hidden < 1:
        raise Refusal(f"recipe.model hidden={hidden!r} leaves nothing to train; choose a number from 1 up")
    linear = (hidden, hidden)
    return AlexNet(num_classes, quantizers, (4, 3, 2), multiplied(mul), linear, EARLY, LECUN_NORMAL, axis_name)


def alexnet_84(
    num_classes: int,
    quantizers: Quantizers,
    *,
    axis_name: str | None = None,
    mul: float = 1.0,
    dropout: float = 0.5,
) -> AlexNet:
    """BLIP's AlexNet for 84x84 images: kernels of 10, 8 and 2, linear layers of 2048 and 512 features.

    `mul` multiplies the features of the convolutions. `dropout` is the rate from the third convolution on, 0.2 in the
    original's baselines. Kernels start uniform in +-1/sqrt(fan_in), biases as 0. Source:
    miniImageNetClassification/src/networks/q_alexnet.py, alexnet.py.

    Example:
        >>> lq.models.alexnet_84(5, quantizers).linear
        (2048, 512)
    """
    if not 0 <= dropout < 1:
        raise Refusal(f"recipe.model dropout={dropout!r} is not a share; choose a number from 0 to below 1")
    kernels = (10, 8, 2)
    return AlexNet(num_classes, quantizers, kernels, multiplied(mul), (2048, 512), dropout, TORCH_UNIFORM, axis_name)
