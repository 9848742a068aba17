"""EfficientNet-Lite0: timm's network for 224x224 images, and a form of it for 32x32."""

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.models.inverted_residual import BlockShape, InvertedResidualNetwork
from lifeq_jax.models.mobilenet_v2 import LAST, STEM, relu6, scaled_features

# blocks, kernel size, stride of the first block, expansion, features
BlockGroup = tuple[int, int, int, int, int]
LITE0: tuple[BlockGroup, ...] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _blocks(stages: tuple[BlockGroup, ...], in_features: int, width: float) -> tuple[BlockShape, ...]:
    found = []
    for blocks, size, stride, expansion, features in stages:
        for index in range(blocks):
            out = scaled_features(features, width)
            found.append(BlockShape(size, expansion * in_features, out, stride if index == 0 else 1, relu6))
            in_features = out
    return tuple(found)


def efficientnet_lite0(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: float = 1.0
) -> InvertedResidualNetwork:
    """EfficientNet-Lite0 for 224x224 images with timm's shapes; 4,652,008 parameters at 1000 classes.

    `width` multiplies the features of the blocks, rounded to multiples of 8, but not those of stem and last
    convolution.

    Example:
        >>> lq.models.efficientnet_lite0(1000, quantizers).last_features
        1280
    """
    blocks = _blocks(LITE0, STEM, width)
    return InvertedResidualNetwork(num_classes, quantizers, STEM, 2, blocks, LAST, relu6, axis_name=axis_name)


def efficientnet_lite0_32(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: float = 1.0
) -> InvertedResidualNetwork:
    """EfficientNet-Lite0 for 32x32 images: stem and second stage of stride 1, hence 4x4 images at the end.

    `width` also multiplies the features of stem and last convolution, which would dominate a narrow network.

    Example:
        >>> lq.models.efficientnet_lite0_32(10, quantizers, width=0.5).last_features
        640
    """
    stem, last = scaled_features(STEM, width), scaled_features(LAST, width)
    first, second, *rest = LITE0
    stages = (first, (*second[:2], 1, *second[3:]), *rest)
    return InvertedResidualNetwork(
        num_classes, quantizers, stem, 1, _blocks(stages, stem, width), last, relu6, axis_name=axis_name
    )
