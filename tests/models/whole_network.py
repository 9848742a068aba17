"""One pass through a whole network, in the quantities that the golden files hold, and the parameters they omit."""

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
    grads: dict  # of the loss
    batch_stats: dict  # after the pass
    layer_stats: jax.Array  # (blocks, 3): mean, unbiased deviation, mean magnitude of each block's output


def statistics(x):
    return jnp.stack([jnp.mean(x), jnp.std(x, ddof=1), jnp.mean(jnp.abs(x))])


def mean_cross_entropy(logits, feature, label):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))


@partial(jax.jit, static_argnums=(0, 4), static_argnames="loss")
def whole_pass(model, variables, image, label, train, share=None, loss=mean_cross_entropy):
    """One pass; share (B,) of the batch that has each example's class, None: as in evaluation."""
    if share is not None:
        model = model.clone(quantizers=model.quantizers.of_batch(share))

    def value_of(params):
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
        return loss(logits, feature, label), (logits, feature, found)

    (value, (logits, feature, found)), grads = jax.value_and_grad(value_of, has_aux=True)(variables["params"])
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


def regenerated(arrays: dict, net: str, seed: int) -> dict[str, np.ndarray]:
    """The MobileNetV2 parameters that a file leaves out, by the recipe in the manifest, in torch's layout."""
    random, state = np.random.RandomState(seed), {}
    for name, text in zip(arrays[f"{net}/names"], arrays[f"{net}/shapes"], strict=True):
        shape = tuple(int(size) for size in text.strip("()[] ,").replace("x", ",").split(","))
        if len(shape) == 4:
            mean, deviation = random.uniform(-0.05, 0.05), random.uniform(0.3, 0.7)
            value = (random.randint(-7, 8, shape) + random.randint(-7, 8, shape)) * (deviation / 6.1) + mean
        elif name.startswith(("logit", "linear")):
            value = random.standard_normal(shape) * 0.3
        elif name.endswith("weight"):
            value = random.uniform(0.6, 1.4, shape)
        else:
            value = random.standard_normal(shape) * 0.3 + 0.1
        state[str(name)] = value.astype(np.float32)
    return state


def assert_as_recorded(arrays: dict, net: str, state: dict[str, np.ndarray]) -> None:
    """Holds regenerated parameters against the sums and first values in the file."""
    values = list(state.values())
    np.testing.assert_allclose([v.sum(dtype=np.float64) for v in values], arrays[f"{net}/param_sum"], rtol=1e-9)
    np.testing.assert_allclose([np.abs(v).sum(dtype=np.float64) for v in values], arrays[f"{net}/param_abs"])
    np.testing.assert_array_equal([v.flat[0] for v in values], arrays[f"{net}/param_head"])
