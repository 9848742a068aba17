"""ClimbQ, ResNet-20 at 32 -> 4 bits, CIFAR-10-LT: 5000 images of the largest class, 500 of the smallest.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data longtail --root data/cifar10 --csv data/cifar10_lt/cifar10 --gamma 10
    lifeq-jax train configs/climbq/resnet20_cifar10_lt.py

Gamma 50: --gamma 50 above, then --data.csv data/cifar10_lt/cifar10_train50.csv; 200 likewise.
The authors' own CSV files train as they are: --data.csv <their folder>/cifar10_train10.csv.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's. With --act-quantizer.args.ratio class, which the paper describes, the network reads an
example's class from the scale in training and misses it in evaluation, where no class is known: set
--reestimation-batches 50 then, or compare with ratio none.

Source: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 80 and 150, batch size, momentum and weight
decay are the original program's; how it makes its float network is not said, so that stage has the same.
Published figure: none known cell by cell. Ours: results/targets.csv, row climbq/resnet20_cifar10_lt."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet20_cifar10_lt",
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
    model=Part("resnet20"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=200, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    importance_data="train",
    optimizer=Optimizer(milestones=(0.4, 0.75)),
)
