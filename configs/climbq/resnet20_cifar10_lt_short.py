"""ClimbQ in short: a ResNet-20 of half the width on CIFAR-10-LT, one low-bit stage from a shared float network.

Used by results/climbq_cifar10_lt.sh to compare quantizers and losses at equal budget; for the paper's lengths see
resnet20_cifar10_lt.py. Images and CSV files as there; the float network comes from the script."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet20_cifar10_lt_short",
    data=Data(
        root="data/cifar10",
        csv="data/cifar10_lt/cifar10_train10.csv",
        num_tasks=1,
        num_classes=10,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=4,
        flip=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
        replay=False,
    ),
    model=Part("resnet20", {"width": 8}),
    stages=(Stage("w4a4", weight_bits=4, act_bits=4, epochs=1, learning_rate=0.05),),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    importance_data="train",
    optimizer=Optimizer(schedule="cosine"),
    start="runs/climbq_cifar10_lt/gamma10/float_{seed}",
    evaluate_every=0,
)
