"""LifeQuant, ResNet-20 at 32 -> 8 -> 4 bits, CIFAR-10-LL: 3 tasks, 25 % of the classes replaced with each.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data lifelong --root data/cifar10 --csv data/cifar10_025/cifar10 --tasks 3 --diminish-rate 25
    lifeq-jax data replay   --csv data/cifar10_025/cifar10 --tasks 3 --rate 20
    lifeq-jax train configs/lifequant/resnet20_cifar10_ll.py

50 %: --diminish-rate 50 above, then --data.csv data/cifar10_050/cifar10; 75 % likewise. 3 bits:
    --stages.2.name w3a3 --stages.2.weight-bits 3 --stages.2.act-bits 3; 2 bits likewise.

Source: LifeQuant (ICCV 2023); the paper has CIFAR-100. Epochs, batch size, momentum, weight decay and
milestones are the original program's, learning rates are ours. Published figure: none known cell by cell.
Ours: results/targets.csv, row lifequant/resnet20_cifar10_ll."""

from lifeq_jax.core.config import Data, Part, Recipe, Stage

recipe = Recipe(
    name="lifequant_resnet20_cifar10_ll",
    data=Data(
        root="data/cifar10",
        csv="data/cifar10_025/cifar10",
        num_tasks=3,
        num_classes=10,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=4,
        flip=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
        batch_size=128,
    ),
    model=Part("resnet20"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=30, learning_rate=0.1, tasks=1),
        Stage("w8a8", weight_bits=8, act_bits=8, epochs=30, learning_rate=0.05, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=30, learning_rate=0.05),
    ),
    loss=Part("ball_log_prior"),
    method=Part("lifequant"),
)
