"""BLIP on mini-ImageNet, twenty tasks of five classes, a head for each: AlexNet and ResNet-18 for 84x84 images.

    lifeq-jax data prepare  --root data/mini_imagenet --source folder --from FOLDER --size 84
    lifeq-jax data sequence mini_imagenet --root data/mini_imagenet --csv data/mini_imagenet_20/mini
    lifeq-jax train blip/mini_imagenet_alexnet

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 5e-16 (ResNet-18: 1e-16) for a Fisher divided
by 10^2, here 5e-14 (1e-14); learning rate 0.01, batch 32, no momentum, Fisher of 1,000 images. ResNet-18's batch norm
learns in the first task only.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's. The original clips gradients:
lwf and ewc --optimizer.max_norm 100, imm 1000; its ewc is --method.args.strength 50000 (10 times its lamb)
--method.args.fisher batch --method.args.history averaged.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

mini_imagenet_alexnet = Recipe(
    name="blip_mini_imagenet_alexnet",
    data=datasets.mini_imagenet(
        csv="data/mini_imagenet_20/mini", num_tasks=20, batch_size=32, heads="per_task", replay=False, validation=0.02
    ),
    model=Part("alexnet_84"),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.01),),
    method=Part("blip", {"prior": 5e-14, "reach": 20.0, "head": False}),
    importance_batches=32,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
"""BLIP: AlexNet, mini-ImageNet in 20 tasks of 5 classes"""

mini_imagenet_resnet18 = mini_imagenet_alexnet.replace(
    {
        "name": "blip_mini_imagenet_resnet18",
        "model": Part("resnet18_84", {"mul": 1.5}),
        "method.args.prior": 1e-14,
        "norm_tasks": 1,
    }
)
"""BLIP: ResNet-18, mini-ImageNet in 20 tasks of 5 classes"""
