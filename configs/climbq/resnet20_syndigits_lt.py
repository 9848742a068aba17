"""ClimbQ, ResNet-20 at 32 -> 4 bits, SynDigits-LT: 1000 images of the largest class, 100 of the smallest.

    lifeq-jax data prepare  --root data/syndigits --source folder --from <folder with train/0 .. test/9> --size 32
    lifeq-jax data longtail --root data/syndigits --csv data/syndigits_lt/syndigits --gamma 10
    lifeq-jax train configs/climbq/resnet20_syndigits_lt.py

Gamma 50: --gamma 50 above, then --data.csv data/syndigits_lt/syndigits_train50.csv; 200 likewise.
The images, rendered digits on any background, are not ours to ship; mean and deviation are round numbers.
3 bits: --stages.1.name w3a3 --stages.1.weight-bits 3 --stages.1.act-bits 3; 2 bits likewise.

Class scaling is the original's. With --act-quantizer.args.ratio class, which the paper describes, the network reads an
example's class from the scale in training and misses it in evaluation, where no class is known: set
--reestimation-batches 50 then, or compare with ratio none.

Source: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 80 and 150, batch size, momentum and weight
decay are the original program's; how it makes its float network is not said, so that stage has the same.
Published figure: none known cell by cell. Ours: results/targets.csv, row climbq/resnet20_syndigits_lt."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="climbq_resnet20_syndigits_lt",
    data=Data(
        root="data/syndigits",
        csv="data/syndigits_lt/syndigits_train10.csv",
        num_tasks=1,
        num_classes=10,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=4,
        flip=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        replay=False,
    ),
    model=Part("resnet20"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=200, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    importance_data="train",
    optimizer=Optimizer(milestones=(0.4, 0.75)),
)
