"""BLIP on CIFAR-10 alone, five tasks of two classes, a head for each: AlexNet for 32x32 images.

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download   (or put the images there yourself)
    lifeq-jax data sequence cifar10_pairs --root data/cifar10 --csv data/cifar10_pairs/cifar10
    lifeq-jax train configs/blip/cifar10_pairs_alexnet.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Not one of its experiments: the
CIFAR-10 half of alternating CIFAR-10/100, with its settings (prior: 5e-16 times 100^2).
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv, row blip/cifar10_pairs_alexnet."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_cifar10_pairs_alexnet",
    data=Data(
        root="data/cifar10",
        csv="data/cifar10_pairs/cifar10",
        num_tasks=5,
        num_classes=10,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=0,
        flip=False,
        mean=(0.4914, 0.4824, 0.4467),
        std=(0.2471, 0.2435, 0.2616),
        batch_size=32,
        heads="per_task",
        replay=False,
        validation=0.1,
    ),
    model=Part("alexnet_32", {"mul": 2.0}),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.05),),
    method=Part("blip", {"prior": 5e-12, "head": False}),
    importance_data="train",
    importance_batches=250,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
