"""BLIP on LifeQuant's lifelong digits: ResNet-20 with 4-bit activations, one shared head, replay.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data lifelong --root data/digits --csv data/digits_025/digits --tasks 3 --diminish-rate 25
    lifeq-jax data replay   --csv data/digits_025/digits --tasks 3 --rate 20
    lifeq-jax train blip/resnet20_digits

Not in the paper (BLIP, CVPR 2021). Batch norm learns in the first task only.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

resnet20_digits = Recipe(
    name="blip_resnet20_digits",
    data=datasets.digits(csv="data/digits_025/digits", num_tasks=3, batch_size=16),
    model=Part("resnet20"),
    stages=(Stage("w32a4", weight_bits=32, act_bits=4, epochs=20, learning_rate=0.05),),
    method=Part("blip", {"prior": 1e-8}),
    importance_data="train",
    norm_tasks=1,
    optimizer=Optimizer(weight_decay=0.0, schedule="cosine"),
)
"""BLIP: ResNet-20, 4-bit activations, scikit-learn's digits in 3 tasks with replay"""
