"""BLIP on MNIST, a perceptron with 1200 hidden units: two tasks of five digits, five of two, ten permutations.

    lifeq-jax data prepare  --root data/mnist --source mnist --download   (or put the images there yourself)
    lifeq-jax data sequence mnist5 --root data/mnist --csv data/mnist5/mnist   (mnist2 and pmnist likewise)
    lifeq-jax train blip/mnist5_mlp

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 1e-15 for a Fisher
divided by 100^2, here 1e-11; at most 200 epochs, learning rate 0.01, batch 64, no momentum, Fisher of 8,000 images.
With one head for all tasks and momentum (pmnist_shared_mlp) fine-tuning forgets. Not one of the paper's experiments;
how prior, rate and epochs were chosen: results/LOG.md.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

mnist5_mlp = Recipe(
    name="blip_mnist5_mlp",
    data=datasets.mnist(
        csv="data/mnist5/mnist", num_tasks=5, batch_size=64, heads="per_task", replay=False, validation=0.1
    ),
    model=Part("mlp"),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.01),),
    method=Part("blip", {"prior": 1e-11, "head": False}),
    importance_batches=125,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
"""BLIP: MNIST in 5 tasks of 2 digits, a head for each"""

mnist2_mlp = mnist5_mlp.replace({"name": "blip_mnist2_mlp", "data.csv": "data/mnist2/mnist", "data.num_tasks": 2})
"""BLIP: MNIST in 2 tasks of 5 digits, a head for each"""

pmnist_mlp = mnist5_mlp.replace(
    {
        "name": "blip_pmnist_mlp",
        "data.csv": "data/pmnist/mnist",
        "data.num_tasks": 10,
        "data.num_classes": 100,
        "data.permuted": True,
    }
)
"""BLIP: permuted MNIST, 10 tasks, a head for each"""

pmnist_shared_mlp = pmnist_mlp.replace(
    {
        "name": "blip_pmnist_shared_mlp",
        "data.num_classes": 10,
        "data.heads": "shared",
        "method": Part("blip", {"prior": 1e-8, "rounding": False}),
        "optimizer.momentum": 0.9,
    }
)
"""BLIP: permuted MNIST, 10 tasks that share one head, with momentum"""
