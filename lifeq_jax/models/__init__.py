"""Networks by name; each maker takes (num_classes, weight quantizer, activation quantizer, axis_name=None, ...)."""

from collections.abc import Callable

from flax import linen as nn

from lifeq_jax.models import mobilenet_v2, resnet, resnet_cifar

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": mobilenet_v2.mobilenet_v2,
    "mobilenet_v2_cifar": mobilenet_v2.mobilenet_v2_cifar,
    "resnet20": resnet_cifar.resnet20,
    "resnet50": resnet.resnet50,
    "resnet56": resnet_cifar.resnet56,
    "resnet8": resnet_cifar.resnet8,
}
