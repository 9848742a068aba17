"""BLIP on alternating CIFAR-10/100, ten tasks of 2 or 20 classes, a head for each: AlexNet for 32x32 images.

    lifeq-jax data prepare  --root data/cifar/cifar10  --source cifar10  --download   (or put the images there yourself)
    lifeq-jax data prepare  --root data/cifar/cifar100 --source cifar100 --download
    lifeq-jax data sequence cifar_alternating --root data/cifar --csv data/cifar_alternating/cifar
    lifeq-jax train configs/blip/cifar_alternating_alexnet.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 5e-16 for a Fisher
divided by 100^2, here 5e-12; mul 2, at most 200 epochs, learning rate 0.05, batch 32, no momentum.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv, row blip/cifar_alternating_alexnet."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_cifar_alternating_alexnet",
    data=Data(
        root="data/cifar",
        csv="data/cifar_alternating/cifar",
        num_tasks=10,
        num_classes=110,
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
