"""The five sequences of the benchmark lqcl (low-bit continual learning), each with fine-tuning with replay at 4 bits.

    python -m benchmarks lqcl            (in a checkout: makes the CSV files, searches, trains, writes the tables)
    lifeq-jax train benchmark/digits     (one run, once the CSV files are there)

Protocol, rows and how settings are searched: docs/benchmark.md. Sizes and epochs are such that two cores can train all
of them. Not from a paper.
Ours: results/lqcl."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

digits = Recipe(
    name="benchmark_digits",
    data=datasets.digits(csv="data/lqcl/digits/part", num_tasks=3, batch_size=32, validation=0.2),
    model=Part("resnet8"),
    stages=(
        Stage("w32a32", weight_bits=32, act_bits=32, epochs=10, learning_rate=0.1, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs=10, learning_rate=0.05),
    ),
    optimizer=Optimizer(schedule="cosine", max_norm=10.0),
    evaluate_every=0,
    checkpoint_every=1000,
)
"""lqcl: ResNet-8, scikit-learn's digits in 3 tasks, 75 % of the classes replaced, 20 % replay"""

digits_long_tail = digits.replace(
    {"name": "benchmark_digits_long_tail", "data.csv": "data/lqcl/digits_long_tail/part", "data.batch_size": 16}
)
"""lqcl: the same with a long tail in each task, the largest class ten times the smallest"""

mnist_pairs = digits.replace(
    {
        "name": "benchmark_mnist_pairs",
        "data": datasets.mnist(csv="data/lqcl/mnist_pairs/part", num_tasks=5, batch_size=64, validation=0.2),
        "model": Part("mlp", {"hidden": 256, "layers": 2}),
        "stages.0.epochs": 3,
        "stages.0.learning_rate": 0.05,
        "stages.1.epochs": 3,
        "stages.1.learning_rate": 0.02,
    }
)
"""lqcl: perceptron, a fifth of MNIST in 5 tasks of 2 digits, one head, 2 % replay"""

mnist_permuted = mnist_pairs.replace(
    {"name": "benchmark_mnist_permuted", "data.csv": "data/lqcl/mnist_permuted/part", "data.permuted": True}
)
"""lqcl: perceptron, a tenth of MNIST in 5 permutations of its pixels, one head, 2 % replay"""

cifar10 = digits.replace(
    {
        "name": "benchmark_cifar10",
        "data": datasets.cifar10(
            root="data/cifar10_16",
            csv="data/lqcl/cifar10/part",
            num_tasks=3,
            image=(16, 16, 3),
            crop=(16, 16),
            pad=2,
            batch_size=64,
            validation=0.2,
        ),
        "stages.0.epochs": 5,
        "stages.1.epochs": 5,
    }
)
"""lqcl: ResNet-8, a tenth of CIFAR-10 at 16x16 in 3 tasks, 75 % of the classes replaced, 20 % replay"""


def _best(recipe: Recipe, rate: float, learned_rate: float) -> Recipe:
    """The recipe with the parts that the searches of lqcl found best, at the rates that its own search found."""
    return recipe.replace(
        {
            "name": recipe.name.replace("benchmark_", "benchmark_best_"),
            "weight_quantizer": Part("lsq"),
            "act_quantizer": Part("lsq"),
            "loss": Part("ball_log_prior"),
            "stages.1.learning_rate": rate,
            "optimizer.learned_rate": learned_rate,
        }
    )


best_digits = _best(digits, 0.26, 4.4e-4)
"""lqcl: digits with LSQ and BaLL, the best over all its sequences"""

best_digits_long_tail = _best(digits_long_tail, 0.26, 4.4e-4)
"""lqcl: digits with a long tail in each task, with LSQ and BaLL"""

best_mnist_pairs = _best(mnist_pairs, 0.18, 9.9e-5)
"""lqcl: MNIST in pairs with LSQ and BaLL"""

best_mnist_permuted = _best(mnist_permuted, 0.022, 1.2e-5)
"""lqcl: permuted MNIST with LSQ and BaLL"""

best_cifar10 = _best(cifar10, 0.18, 9.9e-5)
"""lqcl: a tenth of CIFAR-10 with LSQ and BaLL"""

derpp_digits = _best(digits, 0.18, 9.9e-5).replace(
    {"name": "benchmark_derpp_digits", "method": Part("derpp", {"alpha": 0.88, "beta": 0.12})}
)
"""lqcl: digits with LSQ, BaLL and DER++, which validation images prefer to the two alone"""

derpp_mnist_permuted = _best(mnist_permuted, 0.022, 1.2e-5).replace(
    {"name": "benchmark_derpp_mnist_permuted", "method": Part("derpp", {"alpha": 0.25, "beta": 0.5})}
)
"""lqcl: permuted MNIST with LSQ, BaLL and DER++, which validation images prefer to the two alone"""
