"""Narrow networks on scikit-learn's digits: float, then 3-bit weights and activations by LSQ with freezing.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data lifelong --root data/digits --csv data/digits_1/digits --tasks 1
    lifeq-jax train oscillations/mobilenet_v2_digits

LSQ alone: --oscillation.name track; dampening: --oscillation.name dampen --oscillation.args.momentum 0.01

Not in the paper (Overcoming Oscillations in QAT, ICML 2022); for trying things out.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

mobilenet_v2_digits = Recipe(
    name="oscillations_mobilenet_v2_digits",
    # The strides leave 1x1 of 8x8, one value per image for batch norm: smaller batches train badly.
    data=datasets.digits(csv="data/digits_1/digits", num_tasks=1, replay=False, batch_size=64),
    model=Part("mobilenet_v2_32", {"width": 0.5}),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=40, learning_rate=0.05),
        Stage("w3a3", weight_bits=3, act_bits=3, epochs=20, learning_rate=0.02),
    ),
    weight_quantizer=Part("lsq"),
    act_quantizer=Part("lsq"),
    quant_setup="LSQ_paper",
    oscillation=Part("freeze", {"threshold": 0.1, "threshold_end": 0.011, "momentum": 0.01}),
    reestimation_batches=40,
    optimizer=Optimizer(weight_decay=5e-4, schedule="cosine"),
)
"""LSQ with freezing: MobileNetV2 of half the width at 3 bits, scikit-learn's digits"""

mobilenet_v3_small_digits = mobilenet_v2_digits.replace(
    {
        "name": "oscillations_mobilenet_v3_small_digits",
        "model": Part("mobilenet_v3_small_32", {"width": 0.5}),
        "stages.0.epochs": 20,
        "stages.0.learning_rate": 0.1,
    }
)
"""LSQ with freezing: MobileNetV3-Small of half the width at 3 bits, scikit-learn's digits"""

efficientnet_lite0_digits = mobilenet_v2_digits.replace(
    {
        "name": "oscillations_efficientnet_lite0_digits",
        "model": Part("efficientnet_lite0_32", {"width": 0.5}),
        "stages.0.epochs": 20,
        "oscillation.args.threshold_end": 0.005,
    }
)
"""LSQ with freezing: EfficientNet-Lite0 of half the width at 3 bits, scikit-learn's digits"""

resnet18_digits = mobilenet_v2_digits.replace(
    {
        "name": "oscillations_resnet18_digits",
        "data.batch_size": 16,
        "model": Part("resnet18_32", {"width": 8}),
        "stages.0.epochs": 20,
        "stages.1.epochs": 10,
        "optimizer.weight_decay": 2.5e-5,
    }
)
"""LSQ with freezing: ResNet-18 of an eighth of the width at 3 bits, scikit-learn's digits"""
