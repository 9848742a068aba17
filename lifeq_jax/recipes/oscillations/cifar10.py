"""Narrow networks with 3-bit weights and activations on CIFAR-10: LSQ with freezing, 1 epoch from a float checkpoint.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data lifelong --root data/cifar10 --csv data/cifar10_1/cifar10 --tasks 1
    lifeq-jax train oscillations/mobilenet_v2_cifar10 --run runs/oscillations_mobilenet_v2_cifar10/float \\
        --start "" --oscillation.name none --reestimation-batches 0 --optimizer.weight-decay 5e-4 \\
        --stages.0.name w32a32 --stages.0.weight-bits 32 --stages.0.act-bits 32 \\
        --stages.0.epochs 4 --stages.0.learning-rate 0.1
    lifeq-jax train oscillations/mobilenet_v2_cifar10

3-bit weights alone: --stages.0.name w3a32 --stages.0.act-bits 32
LSQ alone: --oscillation.name track; dampening: --oscillation.name dampen --oscillation.args.momentum 0.01

Not in the paper (Overcoming Oscillations in QAT, ICML 2022), which has ImageNet. Momentum of the oscillation frequency:
ten times the original's, since a run has about a thousandth of its steps; threshold: ends where a weight counts as
oscillating, so that at the end one oscillation freezes.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

mobilenet_v2_cifar10 = Recipe(
    name="oscillations_mobilenet_v2_cifar10",
    data=datasets.cifar10(csv="data/cifar10_1/cifar10", num_tasks=1, replay=False),
    model=Part("mobilenet_v2_32", {"width": 0.25, "stem_stride": 2}),
    stages=(Stage("w3a3", weight_bits=3, act_bits=3, epochs=1, learning_rate=0.01),),
    weight_quantizer=Part("lsq"),
    act_quantizer=Part("lsq"),
    quant_setup="LSQ_paper",
    oscillation=Part("freeze", {"threshold": 0.1, "threshold_end": 0.005, "momentum": 0.01}),
    reestimation_batches=50,
    optimizer=Optimizer(weight_decay=2.5e-5, schedule="cosine"),
    start="runs/oscillations_mobilenet_v2_cifar10/float",
)
"""LSQ with freezing: MobileNetV2 of a quarter of the width at 3 bits, CIFAR-10"""

mobilenet_v3_small_cifar10 = mobilenet_v2_cifar10.replace(
    {
        "name": "oscillations_mobilenet_v3_small_cifar10",
        "model": Part("mobilenet_v3_small_32", {"width": 0.5}),
        "start": "runs/oscillations_mobilenet_v3_small_cifar10/float",
    }
)
"""LSQ with freezing: MobileNetV3-Small of half the width at 3 bits, CIFAR-10"""

efficientnet_lite0_cifar10 = mobilenet_v2_cifar10.replace(
    {
        "name": "oscillations_efficientnet_lite0_cifar10",
        "model": Part("efficientnet_lite0_32", {"width": 0.25}),
        "optimizer.weight_decay": 5e-5,
        "start": "runs/oscillations_efficientnet_lite0_cifar10/float",
    }
)
"""LSQ with freezing: EfficientNet-Lite0 of a quarter of the width at 3 bits, CIFAR-10"""

resnet18_cifar10 = mobilenet_v2_cifar10.replace(
    {
        "name": "oscillations_resnet18_cifar10",
        "model": Part("resnet18_32", {"width": 16}),
        "start": "runs/oscillations_resnet18_cifar10/float",
    }
)
"""LSQ with freezing: ResNet-18 of a quarter of the width at 3 bits, CIFAR-10"""
