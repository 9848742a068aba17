"""Networks by name, as Flax modules.

Every maker takes `num_classes`, the outputs of the classifier; `quantizers`, made by `lq.setup`; and `axis_name`, the
mapped axis over which batch norm is synchronized (None: none). `lq.network` makes the functions that training needs."""

from collections.abc import Callable

from flax import linen as nn

from lifeq_jax.models import alexnet, atari, efficientnet_lite, mlp, mobilenet_v2, mobilenet_v3, resnet, resnet_cifar

MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet_32": alexnet.alexnet_32,
    "alexnet_84": alexnet.alexnet_84,
    "atari": atari.atari,
    "efficientnet_lite0": efficientnet_lite.efficientnet_lite0,
    "efficientnet_lite0_32": efficientnet_lite.efficientnet_lite0_32,
    "minatar": atari.minatar,
    "mlp": mlp.mlp,
    "mobilenet_v2": mobilenet_v2.mobilenet_v2,
    "mobilenet_v2_32": mobilenet_v2.mobilenet_v2_32,
    "mobilenet_v2_cifar": mobilenet_v2.mobilenet_v2_cifar,
    "mobilenet_v3_small": mobilenet_v3.mobilenet_v3_small,
    "mobilenet_v3_small_32": mobilenet_v3.mobilenet_v3_small_32,
    "resnet18": resnet.resnet18,
    "resnet18_32": resnet_cifar.resnet18_32,
    "resnet18_84": resnet_cifar.resnet18_84,
    "resnet20": resnet_cifar.resnet20,
    "resnet50": resnet.resnet50,
    "resnet56": resnet_cifar.resnet56,
    "resnet8": resnet_cifar.resnet8,
}

globals().update(MODELS)  # its rows by name: lifeq_jax.models.resnet20(10, ...)
