"""ClimbQ at 32 -> 4 bits on CIFAR-10-LT and CIFAR-100-LT: the largest class has ten times the images of the smallest.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data longtail --root data/cifar10 --csv data/cifar10_lt/cifar10 --gamma 10
    lifeq-jax train climbq/resnet20_cifar10_lt

CIFAR-100: cifar100 wherever cifar10 stands. Gamma 50: --gamma 50 above, then
--data.csv data/cifar10_lt/cifar10_train50.csv; 200 likewise. The authors' own CSV files train as they are:
--data.csv <their folder>/cifar10_train10.csv; their class sizes of CIFAR-100, of which the last reach 0 at 50 and 200:
--scheme truncated above. 3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's. With --act-quantizer.args.ratio class, which the paper describes, the network reads an
example's class from the scale in training and misses it in evaluation, where no class is known: set
--reestimation-batches 50 then, or compare with ratio none.

Source: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 80 and 150, batch size, momentum and weight
decay are the original program's; how it makes its float network is not said, so that stage has the same.
Published figure: none known cell by cell. Ours: results/targets.csv.

In short (resnet20_cifar10_lt_short): half the width, 16x16 pixels, one low-bit stage from a float network; used by
results/climbq_cifar10_lt.sh to compare quantizers and losses at equal budget, with the CSV files of ClimbQ's authors.
The float network that all start from comes from there; --start "" does without.

    lifeq-jax data prepare --root data/cifar10_16 --source folder --from data/cifar10 --size 16"""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

_cifar10_lt = datasets.cifar10(csv="data/cifar10_lt/cifar10_train10.csv", num_tasks=1, replay=False)
_cifar100_lt = datasets.cifar100(csv="data/cifar100_lt/cifar100_train10.csv", num_tasks=1, replay=False)

resnet20_cifar10_lt = Recipe(
    name="climbq_resnet20_cifar10_lt",
    data=_cifar10_lt,
    model=Part("resnet20", {"init": "torch"}),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=200, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    optimizer=Optimizer(milestones=(0.4, 0.75)),
)
"""ClimbQ: ResNet-20 at 4 bits, CIFAR-10-LT, 5000 to 500 images a class"""

mobilenet_v2_cifar10_lt = resnet20_cifar10_lt.replace(
    {"name": "climbq_mobilenet_v2_cifar10_lt", "model": Part("mobilenet_v2_cifar")}
)
"""ClimbQ: MobileNetV2 at 4 bits, CIFAR-10-LT, 5000 to 500 images a class"""

resnet56_cifar100_lt = resnet20_cifar10_lt.replace(
    {"name": "climbq_resnet56_cifar100_lt", "data": _cifar100_lt, "model": Part("resnet56", {"init": "torch"})}
)
"""ClimbQ: ResNet-56 at 4 bits, CIFAR-100-LT, 500 to 50 images a class"""

mobilenet_v2_cifar100_lt = mobilenet_v2_cifar10_lt.replace(
    {"name": "climbq_mobilenet_v2_cifar100_lt", "data": _cifar100_lt}
)
"""ClimbQ: MobileNetV2 at 4 bits, CIFAR-100-LT, 500 to 50 images a class"""

resnet20_cifar10_lt_short = resnet20_cifar10_lt.replace(
    {
        "name": "climbq_resnet20_cifar10_lt_short",
        "data.root": "data/cifar10_16",
        "data.image": (16, 16, 3),
        "data.crop": (16, 16),
        "data.pad": 2,
        "model": Part("resnet20", {"width": 8}),
        "stages": (Stage("w4a4", weight_bits=4, act_bits=4, epochs=1, learning_rate=0.05),),
        "optimizer": Optimizer(schedule="cosine"),
        "start": "runs/climbq_cifar10_lt/gamma10/float_{seed}",
        "evaluate_every": 0,
    }
)
"""ClimbQ in short: a narrow ResNet-20 at 4 bits, CIFAR-10-LT at 16x16 pixels, 1 epoch from a float network"""
