"""BLIP on permuted MNIST, ten tasks that share one head, with momentum: fine-tuning forgets here.

    lifeq-jax data prepare  --root data/mnist --source mnist --download   (or put the images there yourself)
    lifeq-jax data sequence pmnist --root data/mnist --csv data/pmnist/mnist
    lifeq-jax train configs/blip/pmnist_shared_mlp.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Not one of its experiments.
How prior, rate and epochs were chosen: results/LOG.md.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv, row blip/pmnist_shared_mlp."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_pmnist_shared_mlp",
    data=Data(
        root="data/mnist",
        csv="data/pmnist/mnist",
        num_tasks=10,
        num_classes=10,
        image=(28, 28, 1),
        crop=(28, 28),
        pad=0,
        flip=False,
        mean=(0.1307,),
        std=(0.3081,),
        batch_size=64,
        permuted=True,
        replay=False,
        validation=0.1,
    ),
    model=Part("mlp"),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.01),),
    method=Part("blip", {"prior": 1e-8, "rounding": False}),
    importance_data="train",
    importance_batches=125,
    optimizer=Optimizer(momentum=0.9, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
