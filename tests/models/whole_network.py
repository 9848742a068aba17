"""One pass through a whole network, in the quantities that the golden files hold."""

import re
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lifeq_jax.core.tree import named_leaves
from tests.torch_layout import Names, leaf_name, to_array, to_image, under


class Pass(NamedTuple):
    loss: jax.Array
    logits: jax.Array
    feature: jax.Array
    grads: dict  # of the mean cross-entropy
    batch_stats: dict  # after the pass
    layer_stats: jax.Array  # (blocks, 3): mean, unbiased deviation, mean magnitude of each block's output


def statistics(x):
    return jnp.stack([jnp.mean(x), jnp.std(x, ddof=1), jnp.mean(jnp.abs(x))])


@partial(jax.jit, static_argnums=(0, 4))
def whole_pass(model, variables, image, label, train):
    def loss(params):
        feature, found = model.apply(
            {**variables, "params": params},
            image,
            train,
            method="features",
            mutable=["batch_stats"],
            capture_intermediates=lambda module, _: (
                module.name is not None and re.fullmatch(r"blocks_\d+", module.name) is not None
            ),
        )
        logits = model.apply({"params": params}, feature, method="head")
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))
        return value, (logits, feature, found)

    (value, (logits, feature, found)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    outputs = found["intermediates"]
    blocks = [statistics(outputs[f"blocks_{i}"]["__call__"][0]) for i in range(len(outputs))]
    return Pass(value, logits, feature, grads, found["batch_stats"], jnp.stack(blocks))


def distance(found, expected):
    """|found - expected| / |expected| in the Euclidean norm."""
    return np.linalg.norm(np.asarray(found) - np.asarray(expected)) / max(np.linalg.norm(expected), 1e-30)


def distances(names: Names, found: Pass, case: dict) -> dict[str, float]:
    """Relative distance of each quantity of `case`, the arrays under <net>/<bits>/<mode>/."""
    result = {name: distance(getattr(found, name), case[name]) for name in ("logits", "feature", "layer_stats")}
    result["loss"] = distance(found.loss, case["ce_loss"])
    result["logits_f64"] = distance(found.logits, case["logits_f64"])
    leaves = named_leaves(found.grads) | named_leaves(found.batch_stats)
    for kind in ("grad/", "buffer_after/"):
        for name, value in under(case, kind).items():
            result[kind + name] = distance(leaves[leaf_name(names, name, value.ndim)], to_array(value))
    checked = {"ce_loss" if name == "loss" else name for name in result}
    assert checked == set(case), f"not compared: {set(case) - checked}"
    return result


def compare(
    names: Names, model, variables, arrays: dict, case: str, image: np.ndarray, label: np.ndarray
) -> dict[str, float]:
    """Runs the case '<net>/<bits>/<mode>' and returns its distances from the golden arrays."""
    found = whole_pass(model, variables, to_image(image), jnp.asarray(label, jnp.int32), case.endswith("train"))
    return distances(names, found, under(arrays, case + "/"))
