"""ClimbQ, ResNet-50 at 32 -> 4 bits, on ImageNet and on a long tail of it.

    lifeq-jax data prepare  --root data/imagenet --source imagenet2012   (or put the class folders there yourself)
    lifeq-jax data lifelong --root data/imagenet --csv data/imagenet_1/imagenet --tasks 1
    lifeq-jax train climbq/resnet50_imagenet

    lifeq-jax data longtail --root data/imagenet --csv data/imagenet_lt/imagenet --gamma 256
    lifeq-jax train climbq/resnet50_imagenet_lt

Another gamma: --gamma 50 above, then --data.csv data/imagenet_lt/imagenet_train50.csv.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.
Class scaling is the original's; another: --act-quantizer.args.ratio class, see climbq/cifar.py.

The float stage may start from weights of torchvision or timm and be short: --start weights/resnet50.safetensors
--stages.0.epochs 1. The original's evaluation takes a class ratio of 1: --act-quantizer.args.eval-ratio 1.

The long tail is exponential. The ImageNet-LT of the literature (Liu et al. 2019, OLTR) falls from 1280 to 5 images by
a Pareto distribution; its lists, written as imagenet_train_lt.csv and imagenet_test_lt.csv with the header image,label,
train as they are: --data.csv <folder>/imagenet_train_lt.csv.

Source: ClimbQ (NeurIPS 2022), which has ImageNet as it is, not the long tail. Epochs, learning rate, its decay after
epochs 25, 50 and 75, batch size, momentum and weight decay are the original program's; how it makes its float network
is not said, so that stage has the same. Published figure: none known cell by cell. Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

resnet50_imagenet = Recipe(
    name="climbq_resnet50_imagenet",
    data=datasets.imagenet(csv="data/imagenet_1/imagenet", num_tasks=1, replay=False),
    model=Part("resnet50"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=100, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=100, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    optimizer=Optimizer(milestones=(0.25, 0.5, 0.75)),
)
"""ClimbQ: ResNet-50 at 4 bits, ImageNet"""

resnet50_imagenet_lt = resnet50_imagenet.replace(
    {"name": "climbq_resnet50_imagenet_lt", "data.csv": "data/imagenet_lt/imagenet_train256.csv"}
)
"""ClimbQ: ResNet-50 at 4 bits, ImageNet-LT, 1300 to 5 images a class"""
