"""A 4-bit perceptron and two tasks on two classes that share one head and pull one input in opposite directions.

In task 0 the class is the sign of input 0. In task 1 it is the sign of input 1, and input 0 has the opposite sign at
0.6 of its size: fine-tuning turns the weight of input 0 around, although weights that solve both tasks are near."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lifeq_jax.core.types import Batch
from lifeq_jax.losses.classify import cross_entropy
from lifeq_jax.methods.base import Outputs, StepInfo, TaskEnd
from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS

BITS = 4
HIDDEN = 16
COUNTS = jnp.array([32.0, 32.0])
QUANTIZED = {"hidden": {"kernel": True, "bias": False}, "logit": {"kernel": False, "bias": False}}


def init(seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "hidden": {"kernel": 0.5 * jax.random.normal(keys[0], (2, HIDDEN)), "bias": jnp.zeros(HIDDEN)},
        "logit": {"kernel": 0.2 * jax.random.normal(keys[1], (HIDDEN, 2)), "bias": jnp.zeros(2)},
    }


def quantize(params):
    """The weights that the network computes with."""
    kernel = QUANTIZERS["proxq"](BITS).apply({}, params["hidden"]["kernel"])
    return {**params, "hidden": {**params["hidden"], "kernel": kernel}}


def head(weights, feature):
    return feature @ weights["logit"]["kernel"] + weights["logit"]["bias"].reshape(1, -1)


def apply_weights(weights, image):
    hidden = weights["hidden"]
    feature = jax.nn.relu(image @ hidden["kernel"] + hidden["bias"].reshape(1, -1))
    return Outputs(head(weights, feature), feature)


def apply(params, image):
    return apply_weights(quantize(params), image)


def data(task, seed=0, size=64):
    """One batch with all examples of `task`."""
    rng = np.random.default_rng((seed, task))
    label = np.arange(size) % 2
    sign = (2.0 * label - 1).reshape(-1, 1)
    center = np.array([[1.0, 0.0]]) if task == 0 else np.array([[-0.6, 1.0]])
    image = sign * center + 0.15 * rng.standard_normal((size, 2))
    ones = np.ones(size)
    return Batch(
        *(jnp.asarray(x, t) for x, t in ((image, jnp.float32), (label, jnp.int32), (ones, jnp.float32))),
        jnp.full(size, task, jnp.int32),
        jnp.zeros(size, bool),
    )


def task_end(task, params, parts=2):
    """The end of `task`, with one loader per finished task that yields its examples in `parts` batches."""

    def loader(index):
        whole = data(index)
        size = whole.label.shape[0] // parts
        return [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], whole) for i in range(parts)]

    loaders = tuple(functools.partial(loader, index) for index in range(task + 1))
    return TaskEnd(task, params, quantize(params), apply, apply_weights, head, loaders, COUNTS, jax.random.key(task))


def loss(params, batch):
    return jnp.mean(cross_entropy(apply(params, batch.image).logits, batch.label))


def accuracy(params, task):
    batch = data(task, seed=1, size=400)
    return float(jnp.mean(jnp.argmax(apply(params, batch.image).logits, -1) == batch.label))


def train(method, num_tasks=2, steps=150, rate=0.05):
    """Trains over the tasks. Returns the parameters, the method's state and, after each task, the accuracies."""
    optimizer = chain(method.gradients, sgd(constant(rate)), adam(constant(rate)), method.constraint)
    params = init()
    state, opt_state, matrix = method.init(params), optimizer.init(params), []

    @jax.jit
    def step(carry, batch):
        params, state, opt_state = carry
        grads = jax.grad(loss)(params, batch)
        extra = jax.grad(lambda p: method.penalty(state, p, quantize(p)))(params)
        updates, opt_state = optimizer.update(
            jax.tree.map(jnp.add, grads, extra),
            opt_state,
            params,
            progress=jnp.zeros(()),
            method_state=state,
            quantized=QUANTIZED,
        )
        new = optax.apply_updates(params, updates)
        return new, method.observe(state, StepInfo(params, new, grads, jnp.ones(()))), opt_state

    for task in range(num_tasks):
        batch = data(task)
        for _ in range(steps):
            params, state, opt_state = step((params, state, opt_state), batch)
        state = method.end_task(state, task_end(task, params))
        opt_state = optimizer.init(params)
        matrix.append([accuracy(params, old) for old in range(num_tasks)])
    return params, state, np.array(matrix)
