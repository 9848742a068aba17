"""BLIP on LifeQuant's lifelong digits: ResNet-20 with 4-bit activations, one shared head, replay.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data lifelong --root data/digits --csv data/digits_025/digits --tasks 3 --diminish-rate 25
    lifeq-jax data replay   --csv data/digits_025/digits --tasks 3 --rate 20
    lifeq-jax train configs/blip/resnet20_digits.py

Not in the paper (BLIP, CVPR 2021). Batch norm learns in the first task only.
Ours: results/targets.csv, row blip/resnet20_digits."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_resnet20_digits",
    data=Data(
        root="data/digits",
        csv="data/digits_025/digits",
        num_tasks=3,
        num_classes=10,
        image=(8, 8, 1),
        crop=(8, 8),
        pad=1,
        flip=False,
        mean=(0.305,),
        std=(0.376,),
        batch_size=16,
    ),
    model=Part("resnet20"),
    stages=(Stage("w32a4", weight_bits=32, act_bits=4, epochs=20, learning_rate=0.05),),
    method=Part("blip", {"prior": 1e-8}),
    importance_data="train",
    norm_tasks=1,
    optimizer=Optimizer(weight_decay=0.0, schedule="cosine"),
)
