"""A 4-bit perceptron and two tasks on two classes that pull one input in opposite directions.

In task 0 the class is the sign of input 0. In task 1 it is the sign of input 1, and input 0 has the opposite sign at
0.6 of its size: fine-tuning turns the weight of input 0 around, although weights that solve both tasks are near.

The tasks share one head of 2 outputs. Of 4 outputs each task has a head of its own; since that takes most of the
forgetting away, the network is then narrow, and the class of task 0 is whether input 0 is near 0 or far from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import Batch
from lifeq_jax.losses.classify import cross_entropy, of_head
from lifeq_jax.methods.base import Outputs, TaskEnd
from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS
from tests.methods import trainer

BITS = 4
HIDDEN = 16
NARROW = 6  # hidden units of the network with two heads
QUANTIZED = {"hidden": {"kernel": True, "bias": False}, "classifier": {"kernel": False, "bias": False}}


def init(seed=0, outputs=2):
    keys, width = jax.random.split(jax.random.key(seed), 2), HIDDEN if outputs == 2 else NARROW
    return {
        "hidden": {"kernel": 0.5 * jax.random.normal(keys[0], (2, width)), "bias": jnp.zeros(width)},
        "classifier": {"kernel": 0.2 * jax.random.normal(keys[1], (width, outputs)), "bias": jnp.zeros(outputs)},
    }


def quantize(params):
    """The weights that the network computes with."""
    kernel = QUANTIZERS["proxq"](BITS).apply({}, params["hidden"]["kernel"])
    return {**params, "hidden": {**params["hidden"], "kernel": kernel}}


def head(weights, feature):
    return feature @ weights["classifier"]["kernel"] + weights["classifier"]["bias"].reshape(1, -1)


def apply_weights(weights, image):
    hidden = weights["hidden"]
    feature = jax.nn.relu(image @ hidden["kernel"] + hidden["bias"].reshape(1, -1))
    return Outputs(head(weights, feature), feature)


def apply(params, image):
    return apply_weights(quantize(params), image)


def data(task, seed=0, size=64, outputs=2):
    """One batch with all examples of `task`."""
    rng = np.random.default_rng((seed, task))
    label = np.arange(size) % 2
    place = 2.0 * label - 1
    if (task, outputs) == (0, 4):
        place = (0.5 + label) * (1 - 2 * (np.arange(size) // 2 % 2))
    center = np.array([[1.0, 0.0]]) if task == 0 else np.array([[-0.6, 1.0]])
    image = place.reshape(-1, 1) * center + 0.15 * rng.standard_normal((size, 2))
    ones = np.ones(size)
    batch = Batch(
        *(jnp.asarray(x, t) for x, t in ((image, jnp.float32), (label, jnp.int32), (ones, jnp.float32))),
        jnp.full(size, task, jnp.int32),
        jnp.zeros(size, bool),
        jnp.arange(task * size, (task + 1) * size),
    )
    if outputs == 2:
        return batch
    own = jnp.arange(outputs) // 2 == task
    return batch._replace(label=batch.label + 2 * task, classes=jnp.tile(own, (size, 1)))


def counts(outputs=2):
    return jnp.full(outputs, 32.0)


def task_end(task, params, parts=2):
    """The end of `task`, with one loader per finished task that yields its examples in `parts` batches."""
    outputs = params["classifier"]["bias"].shape[0]

    def loader(index):
        whole = data(index, outputs=outputs)
        size = whole.label.shape[0] // parts
        return [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], whole) for i in range(parts)]

    loaders = tuple(functools.partial(loader, index) for index in range(task + 1))
    key = jax.random.key(task)
    return TaskEnd(task, params, quantize(params), apply, apply_weights, head, loaders, counts(outputs), key)


def loss(params, batch):
    return jnp.mean(cross_entropy(apply(params, batch.image).logits, batch.label))


def accuracy(params, task):
    batch = data(task, seed=1, size=400, outputs=params["classifier"]["bias"].shape[0])
    logits = of_head(apply(params, batch.image).logits, batch.classes)
    return float(jnp.mean(jnp.argmax(logits, -1) == batch.label))


def train(method, num_tasks=2, steps=150, rate=0.05, outputs=2):
    """Trains over the tasks. Returns the parameters, the method's state and, after each task, the accuracies."""
    optimizer = chain(method.gradients, sgd(constant(rate)), adam(constant(rate)), method.constraint)
    net = trainer.network(apply, quantize, QUANTIZED)
    tasks = [[data(task, outputs=outputs)] * steps for task in range(num_tasks)]
    ends = list(trainer.train(net, method, optimizer, init(outputs=outputs), tasks, counts(outputs), task_end))
    matrix = [[accuracy(params, task) for task in range(num_tasks)] for params, _ in ends]
    return *ends[-1], np.array(matrix)
