"""BLIP, AlexNet for 32x32 images, a head for each task: CIFAR-10 and CIFAR-100 in turns, CIFAR-10, five data sets.

    lifeq-jax data prepare  --root data/cifar/cifar10  --source cifar10  --download   (or put the images there yourself)
    lifeq-jax data prepare  --root data/cifar/cifar100 --source cifar100 --download
    lifeq-jax data sequence cifar_alternating --root data/cifar --csv data/cifar_alternating/cifar
    lifeq-jax train blip/cifar_alternating_alexnet

    lifeq-jax data prepare  --root data/cifar10 --source cifar10 --download
    lifeq-jax data sequence cifar10_pairs --root data/cifar10 --csv data/cifar10_pairs/cifar10
    lifeq-jax train blip/cifar10_pairs_alexnet

    lifeq-jax data prepare  --root data/five/mnist         --source mnist         --download --canvas 32
    lifeq-jax data prepare  --root data/five/cifar10       --source cifar10       --download
    lifeq-jax data prepare  --root data/five/notmnist      --source folder --from FOLDER --canvas 32
    lifeq-jax data prepare  --root data/five/svhn          --source svhn_cropped  --download
    lifeq-jax data prepare  --root data/five/fashion_mnist --source fashion_mnist --download --canvas 32
    lifeq-jax data sequence five_datasets --root data/five --csv data/five_datasets/five
    lifeq-jax train blip/five_datasets_alexnet

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 5e-16 (five data sets: 5e-17) for a Fisher
divided by 100^2, here 5e-12 (5e-13); mul 2 (0.8), at most 200 epochs, learning rate 0.05, batch 32, no momentum.
CIFAR-10 alone is not one of its experiments: the CIFAR-10 half of the first, with its settings.
Seed 0's order of the five data sets is MNIST, CIFAR-10, notMNIST, SVHN, Fashion-MNIST. Another seed gives another, and
then mean and std must follow it.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

_MEAN, _STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)  # of CIFAR-10, the original's

cifar_alternating_alexnet = Recipe(
    name="blip_cifar_alternating_alexnet",
    data=datasets.cifar10(
        root="data/cifar",
        csv="data/cifar_alternating/cifar",
        num_tasks=10,
        num_classes=110,
        pad=0,
        flip=False,
        mean=_MEAN,
        std=_STD,
        batch_size=32,
        heads="per_task",
        replay=False,
        validation=0.1,
    ),
    model=Part("alexnet_32", {"mul": 2.0}),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.05),),
    method=Part("blip", {"prior": 5e-12, "head": False}),
    importance_batches=250,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
"""BLIP: AlexNet, CIFAR-10 and CIFAR-100 in turns, 10 tasks of 2 or 20 classes"""

cifar10_pairs_alexnet = cifar_alternating_alexnet.replace(
    {
        "name": "blip_cifar10_pairs_alexnet",
        "data.root": "data/cifar10",
        "data.csv": "data/cifar10_pairs/cifar10",
        "data.num_tasks": 5,
        "data.num_classes": 10,
    }
)
"""BLIP: AlexNet, CIFAR-10 in 5 tasks of 2 classes"""

five_datasets_alexnet = cifar_alternating_alexnet.replace(
    {
        "name": "blip_five_datasets_alexnet",
        "data.root": "data/five",
        "data.csv": "data/five_datasets/five",
        "data.num_tasks": 5,
        "data.num_classes": 50,
        "data.mean": (
            *(0.1, 0.1, 0.1),  # MNIST
            *_MEAN,
            *(0.4254, 0.4254, 0.4254),  # notMNIST
            *(0.4377, 0.4438, 0.4728),  # SVHN
            *(0.219, 0.219, 0.219),  # Fashion-MNIST
        ),
        "data.std": (
            *(0.2752, 0.2752, 0.2752),
            *_STD,
            *(0.4501, 0.4501, 0.4501),
            *(0.198, 0.201, 0.197),
            *(0.3318, 0.3318, 0.3318),
        ),
        "data.validation": 0.15,
        "model": Part("alexnet_32", {"mul": 0.8, "hidden": 1638}),
        "method.args.prior": 5e-13,
    }
)
"""BLIP: AlexNet, MNIST, CIFAR-10, notMNIST, SVHN and Fashion-MNIST one after the other"""
