"""A 4-bit perceptron and two tasks on two classes that pull one input in opposite directions.

In task 0 the class is the sign of input 0. In task 1 it is the sign of input 1, and input 0 has the opposite sign at
0.6 of its size: fine-tuning turns the weight of input 0 around, although weights that solve both tasks are near.

The tasks share one head of 2 outputs. Of 4 outputs each task has a head of its own; since that takes most of the
forgetting away, the network is then narrow, and the class of task 0 is whether input 0 is near 0 or far from it. Of 4
`shared` outputs each class has its own in one head, as tasks of new classes do.

Where images are `kept`, the batch of task 1 also holds the first so many of task 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import Batch
from lifeq_jax.losses.classify import cross_entropy_of_labels, of_head
from lifeq_jax.methods.base import Outputs, TaskEnd
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS
from tests.methods import trainer

BITS = 4
HIDDEN = 16
NARROW = 6  # hidden units of the network with two heads
QUANTIZED = {"hidden": {"kernel": True, "bias": False}, "classifier": {"kernel": False, "bias": False}}


SIZE = 64  # examples of a task
KEPT = 4  # of them, where images are kept


@functools.partial(jax.jit, static_argnames=("outputs", "shared"))
def init(seed=0, outputs=2, shared=False):
    keys, width = jax.random.split(jax.random.key(seed), 2), HIDDEN if outputs == 2 or shared else NARROW
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


def data(task, seed=0, size=SIZE, outputs=2, shared=False):
    """One batch with all examples of `task`."""
    rng = np.random.default_rng((seed, task))
    label = np.arange(size) % 2
    place = 2.0 * label - 1
    if (task, outputs) == (0, 4) and not shared:
        place = (0.5 + label) * (1 - 2 * (np.arange(size) // 2 % 2))
    center = np.array([[1.0, 0.0]]) if task == 0 else np.array([[-0.6, 1.0]])
    image = place.reshape(-1, 1) * center + 0.15 * rng.standard_normal((size, 2))
    return Batch(
        image.astype(np.float32),
        (label + 2 * task * (outputs > 2)).astype(np.int32),
        np.ones(size, np.float32),
        np.full(size, task, np.int32),
        np.zeros(size, bool),
        np.arange(task * size, (task + 1) * size, dtype=np.int32),
        None if outputs == 2 or shared else np.tile(np.arange(outputs) // 2 == task, (size, 1)),
    )


def with_replay(task, kept=KEPT, **kind):
    """The batch of all examples of `task` and the first `kept` of each task before it."""
    replayed = [jax.tree.map(lambda part: part[:kept], data(old, **kind)) for old in range(task)]
    parts = [data(task, **kind), *(part._replace(is_replay=np.ones(kept, bool)) for part in replayed)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def counts(outputs=2):
    return np.full(outputs, 32.0, np.float32)


def task_end(task, params, parts=2, shared=False):
    """The end of `task`, with one loader per finished task that yields its examples in `parts` batches."""
    outputs = params["classifier"]["bias"].shape[0]

    def loader(index):
        whole = data(index, outputs=outputs, shared=shared)
        size = whole.label.shape[0] // parts
        return [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], whole) for i in range(parts)]

    loaders = tuple(functools.partial(loader, index) for index in range(task + 1))
    key = jax.random.key(task)
    return TaskEnd(task, params, jax.jit(quantize)(params), apply, apply_weights, head, loaders, counts(outputs), key)


def loss(params, batch):
    return jnp.mean(cross_entropy_of_labels(apply(params, batch.image).logits, batch.label))


@jax.jit
def accuracy_on(params, batch):
    logits = of_head(apply(params, batch.image).logits, batch.classes)
    return jnp.mean(jnp.argmax(logits, -1) == batch.label)


def accuracy(params, task, shared=False):
    outputs = params["classifier"]["bias"].shape[0]
    return float(accuracy_on(params, data(task, seed=1, size=400, outputs=outputs, shared=shared)))


def train(method, num_tasks=2, steps=150, rate=0.05, outputs=2, shared=False, kept=0, loss="cross_entropy"):
    """Trains over the tasks. Returns the parameters, the method's state and, after each task, the accuracies."""
    optimizer = method_chain(
        method.gradients, sgd_by_progress(constant(rate)), adam_by_progress(constant(rate)), method.constraint
    )
    net = trainer.network(apply, quantize, QUANTIZED)
    kind = dict(outputs=outputs, shared=shared)
    tasks = [[with_replay(task, kept, **kind)] * steps for task in range(num_tasks)]
    end, rows = functools.partial(task_end, shared=shared), num_tasks * SIZE
    given = (init(**kind), tasks, counts(outputs), end, loss)
    ends = list(trainer.train(net, method, optimizer, *given, num_rows=rows, num_kept=rows))
    matrix = [[accuracy(params, task, shared) for task in range(num_tasks)] for params, _ in ends]
    return *ends[-1], np.array(matrix)
