"""ClimbQ at 32 -> 4 bits on long tails of digits: scikit-learn's, in a minute on 2 cores, and SynDigits-LT.

    lifeq-jax data prepare  --root data/digits
    lifeq-jax data longtail --root data/digits --csv data/digits_lt/digits --gamma 10
    lifeq-jax train climbq/resnet20_digits_lt

    lifeq-jax data prepare  --root data/syndigits --source folder --from <folder with train/0 .. test/9> --size 32
    lifeq-jax data longtail --root data/syndigits --csv data/syndigits_lt/syndigits --gamma 10
    lifeq-jax train climbq/resnet20_syndigits_lt

The images of SynDigits, rendered digits on any background, are not ours to ship. Another gamma, 3 and 2 bits, class
scaling: as in climbq/cifar.py.

Source of SynDigits-LT: ClimbQ (NeurIPS 2022). Epochs, learning rate, its decay after epochs 80 and 150, batch size,
momentum and weight decay are the original program's; how it makes its float network is not said, so that stage has the
same. Published figure: none known cell by cell. Scikit-learn's digits are not in the paper; for trying things out.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

resnet20_syndigits_lt = Recipe(
    name="climbq_resnet20_syndigits_lt",
    data=datasets.syndigits(csv="data/syndigits_lt/syndigits_train10.csv", num_tasks=1, replay=False),
    model=Part("resnet20"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.04),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=200, learning_rate=0.04),
    ),
    weight_quantizer=Part("cdf"),
    act_quantizer=Part("cdf_activation"),
    loss=Part("homovar"),
    optimizer=Optimizer(milestones=(0.4, 0.75)),
)
"""ClimbQ: ResNet-20 at 4 bits, SynDigits-LT, 1000 to 100 images a class"""

mobilenet_v2_syndigits_lt = resnet20_syndigits_lt.replace(
    {"name": "climbq_mobilenet_v2_syndigits_lt", "model": Part("mobilenet_v2_cifar")}
)
"""ClimbQ: MobileNetV2 at 4 bits, SynDigits-LT, 1000 to 100 images a class"""

resnet20_digits_lt = resnet20_syndigits_lt.replace(
    {
        "name": "climbq_resnet20_digits_lt",
        "data": datasets.digits(csv="data/digits_lt/digits_train10.csv", num_tasks=1, replay=False, batch_size=32),
        "stages.0.epochs": 30,
        "stages.0.learning_rate": 0.2,
        "stages.1.epochs": 30,
        "stages.1.learning_rate": 0.2,
        "optimizer": Optimizer(schedule="cosine"),
    }
)
"""ClimbQ: ResNet-20 at 4 bits, a long tail of scikit-learn's digits; a minute on 2 cores"""
