"""BLIP on five data sets (seed 0: MNIST, CIFAR-10, notMNIST, SVHN, Fashion-MNIST), a head for each: AlexNet.

    lifeq-jax data prepare  --root data/five/mnist         --source mnist         --download --canvas 32
    lifeq-jax data prepare  --root data/five/cifar10       --source cifar10       --download
    lifeq-jax data prepare  --root data/five/notmnist      --source folder --from FOLDER --canvas 32
    lifeq-jax data prepare  --root data/five/svhn          --source svhn_cropped  --download
    lifeq-jax data prepare  --root data/five/fashion_mnist --source fashion_mnist --download --canvas 32
    lifeq-jax data sequence five_datasets --root data/five --csv data/five_datasets/five
    lifeq-jax train configs/blip/five_datasets_alexnet.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: F_prior 5e-17 for a Fisher
divided by 100^2, here 5e-13; mul 0.8, at most 200 epochs, learning rate 0.05, batch 32, no momentum. Another seed gives
another order of the data sets, and then mean and std must follow it.
Baselines: --method.name finetune | frozen | lwf | imm | ewc, or one of LifeQuant's.
Ours: results/targets.csv, row blip/five_datasets_alexnet."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="blip_five_datasets_alexnet",
    data=Data(
        root="data/five",
        csv="data/five_datasets/five",
        num_tasks=5,
        num_classes=50,
        image=(32, 32, 3),
        crop=(32, 32),
        pad=0,
        flip=False,
        mean=(
            *(0.1, 0.1, 0.1),  # MNIST
            *(0.4914, 0.4824, 0.4467),  # CIFAR-10
            *(0.4254, 0.4254, 0.4254),  # notMNIST
            *(0.4377, 0.4438, 0.4728),  # SVHN
            *(0.219, 0.219, 0.219),  # Fashion-MNIST
        ),
        std=(
            *(0.2752, 0.2752, 0.2752),
            *(0.2471, 0.2435, 0.2616),
            *(0.4501, 0.4501, 0.4501),
            *(0.198, 0.201, 0.197),
            *(0.3318, 0.3318, 0.3318),
        ),
        batch_size=32,
        heads="per_task",
        replay=False,
        validation=0.15,
    ),
    model=Part("alexnet_32", {"mul": 0.8, "hidden": 1638}),
    stages=(Stage("w32a32", weight_bits=32, act_bits=32, epochs=200, learning_rate=0.05),),
    method=Part("blip", {"prior": 5e-13, "head": False}),
    importance_data="train",
    importance_batches=250,
    optimizer=Optimizer(momentum=0.0, weight_decay=0.0, schedule="constant", patience=5),
    selection="lowest_loss",
)
