"""ClimbQ, ResNet-50 at 32 -> 4 bits, ImageNet, all images.

    lifeq-jax data prepare  --root data/imagenet --source imagenet2012   (or put the class folders there yourself)
    lifeq-jax data lifelong --root data/imagenet --csv data/imagenet_1/imagenet --tasks 1
    lifeq-jax train configs/climbq/resnet50_imagenet.py

3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's; another: --act-quantizer.args.ratio class, see resnet20_cifar10_lt.py.

The float stage may start from weights of torchvision or timm and be short: --start weights/resnet50.safetensors
--stages.0.epochs 1. The original's evaluation takes a class ratio of 1: --act-quantizer.args.eval-ratio 1.

Source: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 25, 50 and 75, batch size, momentum and
weight decay are the original program's; how it makes its float network is not said, so that stage has the same.
Published figure: none known cell by cell. Ours: results/targets.csv, row climbq/resnet50_imagenet."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet50_imagenet",
    data=Data(
        root="data/imagenet",
        csv="data/imagenet_1/imagenet",
        num_tasks=1,
        num_classes=1000,
        image=(256, 256, 3),
        crop=(224, 224),
        pad=0,
        flip=True,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize="random_resized_crop",
        replay=False,
    ),
    model=Part("resnet50"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=100, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=100, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    importance_data="train",
    optimizer=Optimizer(milestones=(0.25, 0.5, 0.75)),
)
