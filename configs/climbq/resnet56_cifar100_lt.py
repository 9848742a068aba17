"""ClimbQ, ResNet-56 at 32 -> 4 bits, CIFAR-100-LT: 500 images of the largest class, 50 of the smallest.

    lifeq-jax data prepare  --root data/cifar100 --source cifar100 --download   (or put the images there yourself)
    lifeq-jax data longtail --root data/cifar100 --csv data/cifar100_lt/cifar100 --gamma 10
    lifeq-jax train configs/climbq/resnet56_cifar100_lt.py

Gamma 50: --gamma 50 above, then --data.csv data/cifar100_lt/cifar100_train50.csv; 200 likewise.
The authors' class sizes, of which the last reach 0 at 50 and 200: --scheme truncated above.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's; another: --act-quantizer.args.ratio class, see resnet20_cifar10_lt.py.

Source: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 80 and 150, batch size, momentum and weight
decay are the original program's; how it makes its float network is not said, so that stage has the same.
Published figure: none known cell by cell. Ours: results/targets.csv, row climbq/resnet56_cifar100_lt."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet56_cifar100_lt",
    data=Data(
        root="data/cifar100",
        csv="data/cifar100_lt/cifar100_train10.csv",
        num_tasks=1,
        num_classes=100,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=4,
        flip=True,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        replay=False,
    ),
    model=Part("resnet56"),
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
