"""ClimbQ, ResNet-50 at 32 -> 4 bits, ImageNet-LT: 1300 images of the largest class, 5 of the smallest.

    lifeq-jax data prepare  --root data/imagenet --source imagenet2012   (or put the class folders there yourself)
    lifeq-jax data longtail --root data/imagenet --csv data/imagenet_lt/imagenet --gamma 256
    lifeq-jax train configs/climbq/resnet50_imagenet_lt.py

Another gamma: --gamma 50 above, then --data.csv data/imagenet_lt/imagenet_train50.csv.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's; another: --act-quantizer.args.ratio class, see resnet20_cifar10_lt.py.

This long tail is exponential. The ImageNet-LT of the literature (Liu et al. 2019, OLTR) falls from 1280 to 5 images by
a Pareto distribution; its lists, written as imagenet_train_lt.csv and imagenet_test_lt.csv with the header image,label,
train as they are: --data.csv <folder>/imagenet_train_lt.csv.

Not in the paper (ClimbQ, NeurIPS 2022), which has ImageNet as it is; hyper-parameters are those of its ImageNet
program. Ours: results/targets.csv, row climbq/resnet50_imagenet_lt."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet50_imagenet_lt",
    data=Data(
        root="data/imagenet",
        csv="data/imagenet_lt/imagenet_train256.csv",
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
