"""ClimbQ, ResNet-20 at 32 -> 4 bits on a long tail of scikit-learn's digits: a minute on 2 cores.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data longtail --root data/digits --csv data/digits_lt/digits --gamma 10
    lifeq-jax train configs/climbq/resnet20_digits_lt.py

Gamma 50: --gamma 50 above, then --data.csv data/digits_lt/digits_train50.csv; 200 likewise.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's. With --act-quantizer.args.ratio class, which the paper describes, the network reads an
example's class from the scale in training and misses it in evaluation, where no class is known: set
--reestimation-batches 50 then, or compare with ratio none.

Not in the paper (ClimbQ, NeurIPS 2022); for trying things out.
Ours: results/targets.csv, row climbq/resnet20_digits_lt."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet20_digits_lt",
    data=Data(
        root="data/digits",
        csv="data/digits_lt/digits_train10.csv",
        num_tasks=1,
        num_classes=10,
        image=(8, 8, 1),
        crop=(8, 8),
        pad=1,
        flip=False,
        mean=(0.305,),
        std=(0.376,),
        batch_size=32,
        replay=False,
    ),
    model=Part("resnet20"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=30, learning_rate=0.2),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=30, learning_rate=0.2),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    importance_data="train",
    optimizer=Optimizer(schedule="cosine"),
)
