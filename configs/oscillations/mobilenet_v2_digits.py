"""A narrow MobileNetV2 on scikit-learn's digits: float, then 3-bit weights and activations with freezing.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data lifelong --root data/digits --csv data/digits_1/digits --tasks 1
    lifeq-jax train configs/oscillations/mobilenet_v2_digits.py

LSQ alone: --oscillation.name track; dampening: --oscillation.name dampen --oscillation.args.momentum 0.01

Not in the paper (Overcoming Oscillations in QAT, ICML 2022); for trying things out.
Ours: results/targets.csv, row oscillations/mobilenet_v2_digits."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="oscillations_mobilenet_v2_digits",
    data=Data(
        root="data/digits",
        csv="data/digits_1/digits",
        num_tasks=1,
        num_classes=10,
        image=(8, 8, 1),
        crop=(8, 8),
        pad=1,
        flip=False,
        mean=(0.305,),
        std=(0.376,),
        # The strides leave 1x1 of 8x8, one value per image for batch norm: smaller batches train badly.
        batch_size=64,
        replay=False,
    ),
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
    importance_data="train",
    optimizer=Optimizer(weight_decay=5e-4, schedule="cosine"),
)
