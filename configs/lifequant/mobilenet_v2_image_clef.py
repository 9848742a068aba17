"""LifeQuant, MobileNetV2 at 32 -> 8 -> 3 bits, ImageCLEF: one task for each of its 4 domains.

    lifeq-jax data prepare  --root data/image_clef --source folder --from <folder with i/p/c/b> --size 256
    lifeq-jax data lifelong --root data/image_clef --csv data/image_clef_ll/image_clef --tasks 4 --domains i p c b
    lifeq-jax data replay   --csv data/image_clef_ll/image_clef --tasks 4 --rate 20
    lifeq-jax train configs/lifequant/mobilenet_v2_image_clef.py

The float network is best started from one trained on ImageNet: --start <run folder>.
Source: LifeQuant's ImageCLEF: 12 classes, 4 domains.
Published figure: none known cell by cell. Ours: not run (the images are not ours to ship)."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="lifequant_mobilenet_v2_image_clef",
    data=Data(
        root="data/image_clef",
        csv="data/image_clef_ll/image_clef",
        num_tasks=4,
        num_classes=12,
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
        Stage("w3a3", weight_bits=3, act_bits=3, epochs=30, learning_rate=0.001),
    ),
    loss=Part("ball_log_prior"),
    method=Part("lifequant"),
    optimizer=Optimizer(milestones=(2 / 3,)),
)
