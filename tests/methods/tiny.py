"""BLIP's recorded network of two layers, whose heads are here one linear layer, and its data as batches."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.types import Batch
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.classify import weighted_mean
from lifeq_jax.methods.base import Outputs, TaskEnd
from tests.methods.trainer import forward


def heads_of(arrays):
    """The number of outputs of each task."""
    of_head = re.compile(r".*_classifier\.(\d+)\.bias")
    found = {int(match[1]): arrays[match[0]].size for match in map(of_head.fullmatch, arrays) if match}
    return [found[task] for task in sorted(found)]


def tree(arrays, prefix):
    """The values of all parameters recorded under `prefix`."""
    heads = [f"{prefix}_classifier.{task}" for task in range(len(heads_of(arrays)))]
    features = {"kernel": arrays[f"{prefix}_features.0.weight"].T, "bias": arrays[f"{prefix}_features.0.bias"]}
    kernel = np.concatenate([arrays[f"{head}.weight"] for head in heads]).T
    bias = np.concatenate([arrays[f"{head}.bias"] for head in heads])
    return jax.tree.map(jnp.asarray, {"features": features, "classifier": {"kernel": kernel, "bias": bias}})


def head(params, feature):
    return feature @ params["classifier"]["kernel"] + params["classifier"]["bias"].reshape(1, -1)


def apply(params, image):
    features = params["features"]
    feature = jax.nn.relu(image @ features["kernel"] + features["bias"].reshape(1, -1))
    return Outputs(head(params, feature), feature)


def batches(arrays, prefix, task, size):
    """The examples of `task` recorded under `prefix`, in order, in batches of `size`; the last is padded."""
    heads = heads_of(arrays)
    image, label = arrays[f"{prefix}_x"], arrays[f"{prefix}_y"] + sum(heads[:task])
    place = np.arange(-(-len(label) // size) * size).reshape(-1, size)
    weight, row = (place < len(label)).astype(np.float32), np.minimum(place, len(label) - 1)
    tasks, classes = np.full(size, task, np.int32), np.tile(np.repeat(range(len(heads)), heads) == task, (size, 1))
    return [
        jax.tree.map(
            jnp.asarray,
            Batch(image[r], label[r].astype(np.int32), w, tasks, np.zeros(size, bool), r.astype(np.int32), classes),
        )
        for r, w in zip(row, weight, strict=True)
    ]


def whole_batch(arrays, prefix, task):
    """The examples of `task` recorded under `prefix`, in one batch."""
    return batches(arrays, prefix, task, len(arrays[f"{prefix}_y"]))[0]


def task_end(arrays, size, task, params):
    """The end of `task`, with a loader of t<task>_x in batches of `size` for each finished task."""
    loaders = tuple(functools.partial(batches, arrays, f"t{old}", old, size) for old in range(task + 1))
    counts = np.ones(sum(heads_of(arrays)), np.float32)
    return TaskEnd(task, params, params, apply, apply, head, loaders, counts, jax.random.key(0))


def criterion(method, state, batch):
    """The function params -> all that training on `batch` minimizes."""

    def value(params):
        values = method.example_loss(state, LOSSES["cross_entropy"](), forward(params, batch, apply))
        return weighted_mean(values, batch.weight) + method.penalty(state, params, params)

    return value
