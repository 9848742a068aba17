"""LifeQuant at 32 -> 8 -> 4 (or 3) bits on Office-31 and ImageCLEF: one task for each domain.

    lifeq-jax data prepare  --root data/office31 --source folder --from <folder with amazon/dslr/webcam> --size 256
    lifeq-jax data lifelong --root data/office31 --csv data/office31_ll/office31 --tasks 3 --domains amazon dslr webcam
    lifeq-jax data replay   --csv data/office31_ll/office31 --tasks 3 --rate 20
    lifeq-jax train lifequant/resnet50_office31

    lifeq-jax data prepare  --root data/image_clef --source folder --from <folder with i/p/c/b> --size 256
    lifeq-jax data lifelong --root data/image_clef --csv data/image_clef_ll/image_clef --tasks 4 --domains i p c b
    lifeq-jax data replay   --csv data/image_clef_ll/image_clef --tasks 4 --rate 20
    lifeq-jax train lifequant/resnet50_image_clef

The float network is best started from one trained on ImageNet: --start <run folder>.
Source: LifeQuant (ICCV 2023); of Office-31: batch 32, learning rate 1e-3 from step 20 on tenfold lower.
Published figure: none known cell by cell. Ours: not run (the images are not ours to ship)."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

resnet50_office31 = Recipe(
    name="lifequant_resnet50_office31",
    data=datasets.office31(csv="data/office31_ll/office31", num_tasks=3, batch_size=32),
    model=Part("resnet50"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=30, learning_rate=0.01, tasks=1),
        Stage("w8a8", weight_bits=8, act_bits=8, epochs=30, learning_rate=0.001, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=30, learning_rate=0.001),
    ),
    loss=Part("ball_log_prior"),
    method=Part("lifequant", {"history": "recomputed"}),
    optimizer=Optimizer(milestones=(2 / 3,)),
)
"""LifeQuant: ResNet-50 at 4 bits, Office-31's 3 domains"""

mobilenet_v2_office31 = resnet50_office31.replace(
    {"name": "lifequant_mobilenet_v2_office31", "model": Part("mobilenet_v2")}
)
"""LifeQuant: MobileNetV2 at 4 bits, Office-31's 3 domains"""

resnet50_image_clef = resnet50_office31.replace(
    {
        "name": "lifequant_resnet50_image_clef",
        "data": datasets.image_clef(csv="data/image_clef_ll/image_clef", num_tasks=4, batch_size=32),
    }
)
"""LifeQuant: ResNet-50 at 4 bits, ImageCLEF's 4 domains"""

mobilenet_v2_image_clef = resnet50_image_clef.replace(
    {
        "name": "lifequant_mobilenet_v2_image_clef",
        "model": Part("mobilenet_v2"),
        "stages.2": Stage("w3a3", weight_bits=3, act_bits=3, epochs=30, learning_rate=0.001),
    }
)
"""LifeQuant: MobileNetV2 at 3 bits, ImageCLEF's 4 domains"""
