"""The tiny network of golden lq_importance, and its recorded inputs as the records that a method sees."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import Batch
from lifeq_jax.methods.base import Outputs, StepInfo, TaskEnd
from lifeq_jax.methods.importance import Sum, mean
from lifeq_jax.methods.penalty import probe_of

NAMES = ("fc1.weight", "fc1.bias", "logit.weight", "logit.bias")


def head(params, feature):
    return feature @ params["logit.weight"].T + params["logit.bias"].reshape(1, -1)


def apply(params, image):
    feature = jax.nn.relu(image @ params["fc1.weight"].T + params["fc1.bias"].reshape(1, -1))
    return Outputs(head(params, feature), feature)


def tree(arrays, prefix):
    """The parameters recorded under mlp/`prefix`."""
    return {name: jnp.asarray(arrays[f"mlp/{prefix}/{name}"]) for name in NAMES}


def batch(arrays, name):
    x, y = arrays[f"mlp/data/{name}/x"], arrays[f"mlp/data/{name}/y"]
    rows = np.arange(len(y), dtype=np.int32)
    return Batch(x, y.astype(np.int32), np.ones(len(y), np.float32), 0 * rows, rows < 0, rows)


def loaders_of(arrays):
    """Of each recorded loader the names of its batches."""
    matches = (re.fullmatch(r"mlp/data/((l\d+)b\d+)/x", key) for key in arrays)
    found = sorted(match.groups() for match in matches if match)
    return [[name for name, other in found if other == loader] for loader in sorted({pair[1] for pair in found})]


def task_end(arrays, params, task=1):
    """The end of a task whose network is not quantized, with the recorded loaders."""
    loaders = tuple(lambda names=names: [batch(arrays, name) for name in names] for names in loaders_of(arrays))
    counts = np.ones(len(params["logit.bias"]), np.float32)
    return TaskEnd(task, params, params, apply, apply, head, loaders, counts, jax.random.key(0))


def probe(arrays, num_batches=None):
    """The recorded network at p_old."""
    num_batches = num_batches or len(batches(arrays))
    return probe_of(task_end(arrays, tree(arrays, "p_old")), quantized=False, num_batches=num_batches)


def batches(arrays):
    """The recorded batches in the recorded order."""
    return [batch(arrays, name) for names in loaders_of(arrays) for name in names]


def mean_of(parts):
    """The importance that the sums of single batches add up to."""
    return mean(Sum(*jax.tree.map(lambda *x: sum(map(np.asarray, x)), *parts)))


def class_weights(arrays):
    """(classes,) balanced weights as the original reads them from its JSON: 1 for a class that is not in it."""
    weights = np.ones(len(arrays["mlp/p_old/logit.bias"]), np.float32)
    weights[arrays["mlp/json/class_ids"]] = arrays["mlp/json/weights"]
    return jnp.asarray(weights)


def steps(arrays, task, start):
    """The StepInfo of each recorded update() of `task`, whose parameters start at `start`, and its last parameters."""
    infos, old, index = [], start, 0
    while f"mlp/path/task{task}/step{index}/p/fc1.bias" in arrays:
        new = tree(arrays, f"path/task{task}/step{index}/p")
        infos.append(StepInfo(old, new, tree(arrays, f"path/task{task}/step{index}/grad"), jnp.ones(())))
        old, index = new, index + 1
    return infos, old


def close(actual, expected, rtol=1e-5, scale=None):
    """Trees equal up to `rtol` of the largest entry of each leaf, or of `scale`."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=rtol, atol=rtol * float(np.max(np.abs(b)) if scale is None else scale)
        ),
        actual,
        expected,
    )


def check_penalty(method, state, arrays, prefix, rtol=1e-5, scale=None):
    """The method's penalty and its gradient at p_new are those recorded under mlp/`prefix`."""
    value, gradient = jax.jit(jax.value_and_grad(lambda p: method.penalty(state, p, p)))(tree(arrays, "p_new"))
    close(value, arrays[f"mlp/{prefix}/penalty"], rtol, scale)
    close(gradient, tree(arrays, f"{prefix}/gpenalty"), rtol)
