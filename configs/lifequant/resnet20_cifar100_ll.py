"""LifeQuant, ResNet-20 at 32 -> 8 -> 4 bits, CIFAR-100-LL: 3 tasks, 25 % of the classes replaced with each.

    lifeq-jax data prepare  --root data/cifar100 --source cifar100 --download  (or put the images there yourself)
    lifeq-jax data lifelong --root data/cifar100 --csv data/cifar100_025/cifar100 --tasks 3 --diminish-rate 25
    lifeq-jax data replay   --csv data/cifar100_025/cifar100 --tasks 3 --rate 20
    lifeq-jax train configs/lifequant/resnet20_cifar100_ll.py

50 %: --diminish-rate 50 above, then --data.csv data/cifar100_050/cifar100; 75 % likewise. 3 bits:
    --stages.2.name w3a3 --stages.2.weight-bits 3 --stages.2.act-bits 3; 2 bits likewise.

Source: LifeQuant (ICCV 2023), its CIFAR-100-LL. Epochs, batch size, momentum, weight decay and
milestones are the original program's, learning rates are ours. Published figure: none known cell by cell.
Ours: results/targets.csv, row lifequant/resnet20_cifar100_ll."""

from lifeq_jax.core.config import Data, Part, Recipe, Stage

recipe = Recipe(
    name="lifequant_resnet20_cifar100_ll",
    data=Data(
        root="data/cifar100",
        csv="data/cifar100_025/cifar100",
        num_tasks=3,
        num_classes=100,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=4,
        flip=True,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
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
