"""What a data set says of itself: size, classes, statistics of its pixels, and how it is usually augmented.

A row makes the `data` of a recipe, and takes what is the recipe's own, or what shall be otherwise:
`cifar10(csv="data/cifar10_025/cifar10", num_tasks=3, batch_size=64)`."""

from functools import partial

from lifeq_jax.core.config import Data

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_whole = partial(Data, pad=0, flip=False)
_cifar = partial(Data, image=(32, 32, 3), crop=(32, 32), pad=4, flip=True)
_cropped = partial(Data, crop=(224, 224), pad=0, flip=True, mean=IMAGENET_MEAN, std=IMAGENET_STD)

# scikit-learn's, 8x8
digits = partial(
    Data,
    root="data/digits",
    num_classes=10,
    image=(8, 8, 1),
    crop=(8, 8),
    pad=1,
    flip=False,
    mean=(0.305,),
    std=(0.376,),
)
mnist = partial(
    _whole, root="data/mnist", num_classes=10, image=(28, 28, 1), crop=(28, 28), mean=(0.1307,), std=(0.3081,)
)
cifar10 = partial(
    _cifar, root="data/cifar10", num_classes=10, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
)
cifar100 = partial(
    _cifar, root="data/cifar100", num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
)
# rendered digits on any background; mean and deviation are round numbers
syndigits = partial(
    _cifar, root="data/syndigits", num_classes=10, flip=False, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)
office31 = partial(_cropped, root="data/office31", num_classes=31, image=(256, 256, 3))
image_clef = partial(_cropped, root="data/image_clef", num_classes=12, image=(256, 256, 3))
imagenet = partial(_cropped, root="data/imagenet", num_classes=1000, image=(256, 256, 3), resize="random_resized_crop")
mini_imagenet = partial(
    _whole,
    root="data/mini_imagenet",
    num_classes=100,
    image=(84, 84, 3),
    crop=(84, 84),
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
