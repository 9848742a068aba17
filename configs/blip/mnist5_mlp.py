"""BLIP on MNIST-5, five tasks of two digits, a head for each: a perceptron with 1200 hidden units.

    lifeq-jax data prepare  --root data/mnist --source mnist --download   (or put the images there yourself)
    lifeq-jax data sequence mnist5 --root data/mnist --csv data/mnist5/mnist
    lifeq-jax train configs/blip/mnist5_mlp.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 1e-15 for a Fisher
divided by 100^2, here 1e-11; at most 200 epochs, learning rate 0.01, batch 64, no momentum, Fisher of 8,000 images.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv, row blip/mnist5_mlp."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_mnist5_mlp",
    data=Data(
        root="data/mnist",
        csv="data/mnist5/mnist",
        num_tasks=5,
        num_classes=10,
        image=(28, 28, 1),
        crop=(28, 28),
        pad=0,
        flip=False,
        mean=(0.1307,),
        std=(0.3081,),
        batch_size=64,
        heads="per_task",
        replay=False,
        validation=0.1,
    ),
    model=Part("mlp"),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.01),),
    method=Part("blip", {"prior": 1e-11, "head": False}),
    importance_data="train",
    importance_batches=125,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
