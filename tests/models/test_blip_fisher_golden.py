"""The diagonal Fisher information of BLIP's programs, with the labels that they drew."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import Batch
from lifeq_jax.layers.taps import squared_gradients
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.importance import FISHERS, Probe, estimator, mean
from tests.models.blip_layout import channels_last, columns, our_leaf, to_variables
from tests.models.test_blip_golden import RECORDED, images
from tests.models.whole_network import distance
from tests.torch_layout import to_array


def fisher(model, variables, batch):
    """The empirical estimate, layer by layer."""

    def head(params, feature):
        return model.apply({"params": params}, feature, method="head")

    def apply(params, image):
        feature = model.apply({**variables, "params": params}, image, train=False, method="features")
        return Outputs(head(params, feature), feature)

    squares = Partial(partial(squared_gradients, apply))
    probe = Probe(Partial(apply), Partial(head), variables["params"], jnp.ones(1), jnp.ones(()), squares)
    return mean(estimator(FISHERS["empirical"](LOSSES["cross_entropy"]()))(probe, [batch], jax.random.key(0)))


# Of each file: what the original's Fisher is multiplied by. In batches of 4 the gradients of the batch's mean loss are
# 1/4 of an example's; mini-ImageNet's sum over 8 examples is divided by 1000.
UNSCALED = {"mlp": 4**2, "alexnet": 4**2, "resnet_mini": 4**2 * 1000 / 8}


@pytest.fixture(scope="module", params=UNSCALED)
def case(request, golden):
    """(the golden arrays, our estimate in their names and layouts, the classifier's part, its columns of the task)."""
    arrays, (model, task) = dict(golden(f"blip_fisher_{request.param}")), RECORDED[request.param]
    image, own = images(arrays), columns(arrays, task)
    zeros = jnp.zeros(len(image), jnp.int32)
    batch = Batch(
        image=image,
        label=jnp.asarray(own[arrays["targets"]], jnp.int32),
        weight=jnp.ones(len(image)),
        task=zeros,
        is_replay=zeros > 0,
        index=jnp.arange(len(image), dtype=jnp.int32),
        classes=jnp.broadcast_to(jnp.isin(jnp.arange(model.num_classes), own), (len(image), model.num_classes)),
    )
    leaves = {f"params/{name}": leaf for name, leaf in named_leaves(fisher(model, to_variables(arrays), batch)).items()}
    return request.param, arrays, leaves, own


def compared(name, arrays, leaves, prefix, scale):
    """Distances of our leaves from the arrays of a prefix, in whose names the layer's comes last."""
    found = {}
    for key in [key for key in arrays if key.startswith(prefix)]:
        module = key.removeprefix(prefix)
        value = arrays[key] * scale
        if value.ndim > 1 and module.startswith("features.fc1"):
            value = channels_last(value, arrays["param_features.conv3.bias"].size)
        weight = f"{module.removesuffix('.weight').removesuffix('.bias')}.{'weight' if value.ndim > 1 else 'bias'}"
        found[key] = distance(leaves[our_leaf(weight, value.ndim, 1)], to_array(value))
    return found


def test_true_fisher_of_recorded_labels(case):
    name, arrays, leaves, _ = case
    found = compared(name, arrays, leaves, "true64_", 1.0)
    assert len(found) == {"mlp": 2, "alexnet": 10, "resnet_mini": 12}[name]
    assert max(found.values()) < 1e-5, found


def test_the_originals_is_divided_by_the_square_of_its_batch_size(case):
    name, arrays, leaves, _ = case
    for prefix in ("Fisher_w_", "Fisher_b_"):
        found = compared(name, arrays, leaves, prefix, UNSCALED[name])
        assert max(found.values(), default=0.0) < 1e-5, found


def test_heads_of_other_tasks_have_no_information(case):
    _, _, leaves, own = case
    kernel = np.asarray(leaves["params/classifier/dense/kernel"])
    others = np.setdiff1d(np.arange(kernel.shape[1]), own)
    assert np.all(kernel[:, others] == 0) and len(others)
    assert np.all(np.max(kernel[:, own], axis=0) > 0)
