"""ResNets for small images: LifeQuant's and ClimbQ's of three stages, and ResNet-18 with a small stem."""

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.models.resnet import ResNet


def resnet8(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16) -> ResNet:
    """ResNet-8: 1 block a stage, otherwise as ResNet-20; for small images and quick trials."""
    return ResNet(num_classes, quantizers, (1, 1, 1), width, axis_name=axis_name)


def resnet20(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16) -> ResNet:
    """ResNet-20: 3 blocks a stage; 272,474 parameters for 3 channels, 10 classes and width 16.

    With the setup "convolutions" as LifeQuant and ClimbQ build it."""
    return ResNet(num_classes, quantizers, (3, 3, 3), width, axis_name=axis_name)


def resnet56(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16) -> ResNet:
    """ResNet-56: 9 blocks a stage, otherwise as ResNet-20."""
    return ResNet(num_classes, quantizers, (9, 9, 9), width, axis_name=axis_name)


def resnet18_32(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 64) -> ResNet:
    """resnet18 for 32x32 images: 3x3 stem of stride 1, no max pooling; `width` features in stem and first stage."""
    return ResNet(num_classes, quantizers, (2, 2, 2, 2), width, axis_name=axis_name)
