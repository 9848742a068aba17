"""A narrow ResNet-18 with 3-bit weights and activations on CIFAR-10, 1 epoch from a float checkpoint.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data lifelong --root data/cifar10 --csv data/cifar10_1/cifar10 --tasks 1
    lifeq-jax train configs/oscillations/resnet18_cifar10.py \\
        --run runs/oscillations_resnet18_cifar10/float \\
        --start "" --oscillation.name none --reestimation-batches 0 --optimizer.weight-decay 5e-4 \\
        --stages.0.name w32a32 --stages.0.weight-bits 32 --stages.0.act-bits 32 \\
        --stages.0.epochs 4 --stages.0.learning-rate 0.1
    lifeq-jax train configs/oscillations/resnet18_cifar10.py

3-bit weights alone: --stages.0.name w3a32 --stages.0.act-bits 32
LSQ alone: --oscillation.name track; dampening: --oscillation.name dampen --oscillation.args.momentum 0.01

Not in the paper (Overcoming Oscillations in QAT, ICML 2022), which has ImageNet. Momentum of the oscillation frequency:
ten times the original's, since a run has about a thousandth of its steps; threshold: ends where a weight counts as
oscillating, so that at the end one oscillation freezes.
Ours: results/targets.csv, row oscillations/resnet18_cifar10."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="oscillations_resnet18_cifar10",
    data=Data(
        root="data/cifar10",
        csv="data/cifar10_1/cifar10",
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
    model=Part("resnet18_32", {"width": 16}),
    stages=(Stage("w3a3", weight_bits=3, act_bits=3, epochs=1, learning_rate=0.01),),
    weight_quantizer=Part("lsq"),
    act_quantizer=Part("lsq"),
    quant_setup="LSQ_paper",
    oscillation=Part("freeze", {"threshold": 0.1, "threshold_end": 0.005, "momentum": 0.01}),
    reestimation_batches=50,
    importance_data="train",
    optimizer=Optimizer(weight_decay=2.5e-5, schedule="cosine"),
    start="runs/oscillations_resnet18_cifar10/float",
)
