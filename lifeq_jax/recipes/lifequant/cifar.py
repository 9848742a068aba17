"""LifeQuant at 32 -> 8 -> 4 bits on CIFAR-100-LL and CIFAR-10-LL: 3 tasks, 25 % of the classes replaced with each.

    lifeq-jax data prepare  --root data/cifar100 --source cifar100 --download  (or put the images there yourself)
    lifeq-jax data lifelong --root data/cifar100 --csv data/cifar100_025/cifar100 --tasks 3 --diminish-rate 25
    lifeq-jax data replay   --csv data/cifar100_025/cifar100 --tasks 3 --rate 20
    lifeq-jax train lifequant/resnet20_cifar100_ll

CIFAR-10: cifar10 wherever cifar100 stands. 50 %: --diminish-rate 50 above, then --data.csv data/cifar100_050/cifar100;
75 % likewise. 3 bits: --stages.2.name w3a3 --stages.2.weight-bits 3 --stages.2.act-bits 3; 2 bits likewise.

Source: LifeQuant (ICCV 2023), which has CIFAR-100-LL, not CIFAR-10. Epochs, batch size, momentum, weight decay and
milestones are the original program's, learning rates are ours. Published figure: none known cell by cell.
Ours: results/targets.csv."""

from lifeq_jax import Part, Recipe, Stage, datasets

resnet20_cifar100_ll = Recipe(
    name="lifequant_resnet20_cifar100_ll",
    data=datasets.cifar100(csv="data/cifar100_025/cifar100", num_tasks=3, batch_size=128),
    model=Part("resnet20", {"init": "torch"}),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=30, learning_rate=0.1, tasks=1),
        Stage("w8a8", weight_bits=8, act_bits=8, epochs=30, learning_rate=0.05, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=30, learning_rate=0.05),
    ),
    loss=Part("ball_log_prior"),
    method=Part("lifequant", {"history": "recomputed"}),
)
"""LifeQuant: ResNet-20 at 4 bits, CIFAR-100 in 3 tasks"""

resnet20_cifar10_ll = resnet20_cifar100_ll.replace(
    {
        "name": "lifequant_resnet20_cifar10_ll",
        "data": datasets.cifar10(csv="data/cifar10_025/cifar10", num_tasks=3, batch_size=128),
    }
)
"""LifeQuant: ResNet-20 at 4 bits, CIFAR-10 in 3 tasks"""

mobilenet_v2_cifar100_ll = resnet20_cifar100_ll.replace(
    {
        "name": "lifequant_mobilenet_v2_cifar100_ll",
        "data.batch_size": 64,
        "model": Part("mobilenet_v2_cifar"),
        "stages.0.learning_rate": 0.05,
        "weight_quantizer": Part("proxq", {"range_": 0.5}),
        "method": Part("lifequant", {"range_": 0.5, "history": "recomputed"}),
    }
)
"""LifeQuant: MobileNetV2 at 4 bits, CIFAR-100 in 3 tasks"""

mobilenet_v2_cifar10_ll = mobilenet_v2_cifar100_ll.replace(
    {
        "name": "lifequant_mobilenet_v2_cifar10_ll",
        "data": datasets.cifar10(csv="data/cifar10_025/cifar10", num_tasks=3, batch_size=64),
    }
)
"""LifeQuant: MobileNetV2 at 4 bits, CIFAR-10 in 3 tasks"""
