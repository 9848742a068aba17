"""One pass through a whole network, in the quantities that the golden files hold, and the parameters they omit."""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Pass(NamedTuple):
    logits: jax.Array
    feature: jax.Array
    loss: jax.Array
    grads: dict  # of the loss
    batch_stats: dict  # after the pass
    layer_stats: jax.Array  # (blocks, 3): mean, unbiased deviation, mean magnitude of each block's output


def statistics(x):
    return jnp.stack([jnp.mean(x), jnp.std(x, ddof=1), jnp.mean(jnp.abs(x))])


def mean_cross_entropy(logits, feature, label):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))


def of_batch(model, share):
    """The network as one training batch sees it."""
    return model if share is None else model.clone(quantizers=model.quantizers.of_batch(share))


def head_pass(model, params, feature, label, share, loss):
    """A loss and its gradient through the head alone, which is all of the classifier's."""
    model = of_batch(model, share)
    return jax.value_and_grad(lambda p: loss(model.apply({"params": p}, feature, method="head"), feature, label))(
        params
    )


def whole_pass(model, variables, image, label, train, share=None, loss: Callable = mean_cross_entropy):
    """One pass; share (B,) of the batch that has each example's class, None: as in evaluation."""
    model = of_batch(model, share)

    def network(params):
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
        return (model.apply({"params": params}, feature, method="head"), feature), found

    (logits, feature), pullback, found = jax.vjp(network, variables["params"], has_aux=True)
    value, cotangent = jax.value_and_grad(loss, (0, 1))(logits, feature, label)
    outputs = found["intermediates"]
    return Pass(
        logits,
        feature,
        loss=value,
        grads=pullback(cotangent)[0],
        batch_stats=found["batch_stats"],
        layer_stats=jnp.stack([statistics(outputs[f"blocks_{i}"]["__call__"][0]) for i in range(len(outputs))]),
    )


def distance(found, expected):
    """|found - expected| / |expected| in the Euclidean norm."""
    return np.linalg.norm(np.asarray(found) - np.asarray(expected)) / max(np.linalg.norm(expected), 1e-30)


def regenerated(arrays: dict, net: str, seed: int) -> dict[str, np.ndarray]:
    """The MobileNetV2 parameters that a file leaves out, by the recipe in the manifest, in torch's layout.

    They are held against the sums and first values in the file."""
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
    values = list(state.values())
    np.testing.assert_allclose([v.sum(dtype=np.float64) for v in values], arrays[f"{net}/param_sum"], rtol=1e-9)
    np.testing.assert_allclose([np.abs(v).sum(dtype=np.float64) for v in values], arrays[f"{net}/param_abs"])
    np.testing.assert_array_equal([v.flat[0] for v in values], arrays[f"{net}/param_head"])
    return state
