"""MobileNetV3-Small: torchvision's network for 224x224 images, and a form of it for 32x32."""

from collections.abc import Callable
from functools import partial

import jax
from flax import linen as nn

from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.models.inverted_residual import BlockShape, InvertedResidualNetwork, hard_sigmoid
from lifeq_jax.models.mobilenet_v2 import scaled_features

# For each block: kernel size, features of the depthwise convolution, features, stride, whether it has squeeze and
# excitation, whether it has hard-swish (else ReLU).
BlockRow = tuple[int, int, int, int, bool, bool]
SMALL: tuple[BlockRow, ...] = (
    (3, 16, 16, 2, True, False),
    (3, 72, 24, 2, False, False),
    (3, 88, 24, 1, False, False),
    (5, 96, 40, 2, True, True),
    (5, 240, 40, 1, True, True),
    (5, 240, 40, 1, True, True),
    (5, 120, 48, 1, True, True),
    (5, 144, 48, 1, True, True),
    (5, 288, 96, 2, True, True),
    (5, 576, 96, 1, True, True),
    (5, 576, 96, 1, True, True),
)
# torchvision's values: slow averages, for runs of 10^5 steps.
SLOW_NORM = partial(BatchNorm, momentum=0.01, epsilon=0.001)
NORM = partial(BatchNorm, epsilon=0.001)


def hard_swish(x: jax.Array) -> jax.Array:
    """x relu6(x + 3) / 6, any shape. Source: Searching for MobileNetV3 (ICCV 2019), section 5.2."""
    return x * hard_sigmoid(x)


def _network(
    num_classes: int,
    quantizers: Quantizers,
    rows: tuple[BlockRow, ...],
    width: float,
    stem_stride: int,
    make_norm: Callable[..., BatchNorm],
    axis_name: str | None,
) -> InvertedResidualNetwork:
    shapes = tuple(_shape(row, width) for row in rows)
    stem, last, hidden = scaled_features(16, width), 6 * shapes[-1].features, scaled_features(1024, width)
    return InvertedResidualNetwork(
        num_classes, quantizers, stem, stem_stride, shapes, last, hard_swish, hidden, make_norm, axis_name
    )


def _shape(row: BlockRow, width: float) -> BlockShape:
    size, inner, features, stride, squeeze, swish = row
    inner = scaled_features(inner, width)
    function = hard_swish if swish else nn.relu
    return BlockShape(
        size, inner, scaled_features(features, width), stride, function, scaled_features(inner, 0.25) if squeeze else 0
    )


def mobilenet_v3_small(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: float = 1.0
) -> InvertedResidualNetwork:
    """MobileNetV3-Small for 224x224 images with torchvision's shapes; 2,542,856 parameters at 1000 classes.

    `width` multiplies all features, rounded to multiples of 8.

    Example:
        >>> lq.models.mobilenet_v3_small(1000, quantizers).hidden
        1024
    """
    return _network(num_classes, quantizers, SMALL, width, 2, SLOW_NORM, axis_name)


def mobilenet_v3_small_32(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: float = 1.0
) -> InvertedResidualNetwork:
    """MobileNetV3-Small for 32x32 images: stem and first block of stride 1, hence 4x4 images at the end.

    `width` multiplies all features, rounded to multiples of 8. Running statistics have momentum 0.1, as in the other
    small networks, not torchvision's 0.01, with which short runs would be evaluated with statistics of their start.

    Example:
        >>> lq.models.mobilenet_v3_small_32(10, quantizers, width=0.5).hidden
        512
    """
    first, *rest = SMALL
    rows = ((*first[:3], 1, *first[4:]), *rest)
    return _network(num_classes, quantizers, rows, width, 1, NORM, axis_name)
