"""ClimbQ in short: ResNet-20 of half the width, CIFAR-10-LT at 16x16 pixels, one low-bit stage from a float network.

    lifeq-jax data prepare --root data/cifar10_16 --source folder --from data/cifar10 --size 16
    lifeq-jax train configs/climbq/resnet20_cifar10_lt_short.py --start ""   (or from the float network of the script)

Used by results/climbq_cifar10_lt.sh to compare quantizers and losses at equal budget, with the CSV files of ClimbQ's
authors; the float network that all start from comes from there. The paper's lengths and sizes: resnet20_cifar10_lt.py.
Ours: results/targets.csv, row climbq/resnet20_cifar10_lt_short."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet20_cifar10_lt_short",
    data=Data(
        root="data/cifar10_16",
        csv="data/cifar10_lt/cifar10_train10.csv",
        num_tasks=1,
        num_classes=10,
        image=(16, 16, 3),
        crop=(16, 16),
        pad=2,
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
