"""LifeQuant, MobileNetV2 at 32 -> 8 -> 4 bits, Office-31: one task for each of its 3 domains.

    lifeq-jax data prepare  --root data/office31 --source folder --from <folder with amazon/dslr/webcam> --size 256
    lifeq-jax data lifelong --root data/office31 --csv data/office31_ll/office31 --tasks 3 --domains amazon dslr webcam
    lifeq-jax data replay   --csv data/office31_ll/office31 --tasks 3 --rate 20
    lifeq-jax train configs/lifequant/mobilenet_v2_office31.py

The float network is best started from one trained on ImageNet: --start <run folder>.
Source: LifeQuant's Office-31: 31 classes, batch 32, learning rate 1e-3 from step 20 on tenfold lower.
Published figure: none known cell by cell. Ours: not run (the images are not ours to ship)."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="lifequant_mobilenet_v2_office31",
    data=Data(
        root="data/office31",
        csv="data/office31_ll/office31",
        num_tasks=3,
        num_classes=31,
        image=(256, 256, 3),
        crop=(224, 224),
        pad=0,
        flip=True,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        batch_size=32,
    ),
    model=Part("mobilenet_v2"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=30, learning_rate=0.01, tasks=1),
        Stage("w8a8", weight_bits=8, act_bits=8, epochs=30, learning_rate=0.001, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=30, learning_rate=0.001),
    ),
    loss=Part("ball_log_prior"),
    method=Part("lifequant"),
    optimizer=Optimizer(milestones=(2 / 3,)),
)
