"""ResNets for small images: those of LifeQuant and ClimbQ, with three stages, and ResNet-18 with small stems."""

import math
from functools import partial

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.initial import HE_NORMAL, TORCH_UNIFORM, Initializer
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.models.resnet import ResNet, Stem

plain_norm = partial(BatchNorm, affine=False)

INITIALIZERS: dict[str, Initializer] = {"he": HE_NORMAL, "torch": TORCH_UNIFORM}


def _kernel_init(name: str) -> Initializer:
    return lookup(INITIALIZERS, name, "model.args.init")


def resnet8(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16) -> ResNet:
    """ResNet-8: 1 block per stage, otherwise as ResNet-20, `width` included; for small images and quick trials.

    Example:
        >>> lq.models.resnet8(10, quantizers, width=8).width
        8
    """
    return ResNet(num_classes, quantizers, (1, 1, 1), width, axis_name=axis_name)


def resnet20(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16, init: str = "he"
) -> ResNet:
    """ResNet-20: 3 blocks per stage; 272,474 parameters for 3 channels, 10 classes and width 16.

    With the setup "convolutions" it is that of LifeQuant and ClimbQ. Kernels start normal with variance 2 / fan_out;
    with init="torch", as theirs, uniform in +-1/sqrt(fan_in).

    Example:
        >>> lq.models.resnet20(10, quantizers).width
        16
    """
    return ResNet(num_classes, quantizers, (3, 3, 3), width, axis_name=axis_name, kernel_init=_kernel_init(init))


def resnet56(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 16, init: str = "he"
) -> ResNet:
    """ResNet-56: 9 blocks per stage, otherwise as ResNet-20, `width` and `init` included.

    Example:
        >>> lq.models.resnet56(10, quantizers).width
        16
    """
    return ResNet(num_classes, quantizers, (9, 9, 9), width, axis_name=axis_name, kernel_init=_kernel_init(init))


def resnet18_32(num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 64) -> ResNet:
    """resnet18 for 32x32 images: 3x3 stem of stride 1, no max pooling; `width` features in stem and first stage.

    Example:
        >>> lq.models.resnet18_32(10, quantizers, width=32).width
        32
    """
    return ResNet(num_classes, quantizers, (2, 2, 2, 2), width, axis_name=axis_name)


def resnet18_84(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, mul: float = 1.0, window: int = 0
) -> ResNet:
    """BLIP's ResNet-18 for 84x84 images: 3x3 stem of stride 2, no max pooling, norms without scale and bias.

    `mul` multiplies the features of every convolution (64 in the stem), rounded down. The original averages only the
    top left 4x4 of its last 6x6 feature map: window=4. Kernels start uniform in +-1/sqrt(fan_in). Source:
    miniImageNetClassification/src/networks/q_resnet.py.

    Example:
        >>> lq.models.resnet18_84(5, quantizers, window=4).window
        4
    """
    if not 1 / 64 <= mul < math.inf:
        raise Refusal(f"recipe.model mul={mul!r} is not a factor of 64 features; choose a number from 1/64 up")
    if window < 0:
        raise Refusal(f"recipe.model window={window!r} is not a size; choose 4 as the original, or 0 for all")
    return ResNet(
        num_classes,
        quantizers,
        (2, 2, 2, 2),
        64 * mul,
        stem_shape=Stem(3, 2),
        axis_name=axis_name,
        make_norm=plain_norm,
        kernel_init=TORCH_UNIFORM,
        window=window,
    )
