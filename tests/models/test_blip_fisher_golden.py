"""The diagonal Fisher information of BLIP's programs, with the labels that they drew."""

from functools import partial
from typing import NamedTuple

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
from tests import vectors
from tests.models.blip_layout import channels_last, columns, our_leaf, to_variables
from tests.models.test_blip_golden import FILES, images, network
from tests.models.whole_network import distance
from tests.torch_layout import to_array, under


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


def unscaled(facts):
    """What the original's Fisher is multiplied by.

    A gradient of a batch's mean loss is 1/B of an example's; the sum is divided by a number of examples of its own."""
    seen = facts.get("total_data", 0) or facts["batches"] * facts["batch_size"]
    return facts["batch_size"] ** 2 * facts.get("total_data_hardcoded", seen) / seen


class Case(NamedTuple):
    arrays: dict
    facts: dict
    leaves: dict  # our estimate in the golden arrays' names and layouts
    own: np.ndarray  # the classifier's columns of the task


@pytest.fixture(scope="module", params=FILES)
def case(request):
    arrays, facts, model = vectors.arrays(request.param), vectors.scalars(request.param), network(request.param)
    image, own = images(arrays), columns(arrays, facts["task"])
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
    return Case(arrays, facts, leaves, own)


def compared(case, prefix, scale):
    """Distances of our leaves from the arrays of a prefix, in whose names the layer's comes last."""
    found = {}
    for module, array in under(case.arrays, prefix).items():
        value = array * scale
        if value.ndim > 1 and module.startswith("features.fc1"):
            value = channels_last(value, case.arrays["param_features.conv3.bias"].size)
        weight = f"{module.removesuffix('.weight').removesuffix('.bias')}.{'weight' if value.ndim > 1 else 'bias'}"
        found[prefix + module] = distance(case.leaves[our_leaf(weight, value.ndim, 1)], to_array(value))
    return found


def test_true_fisher_of_recorded_labels(case):
    found = compared(case, "true64_", 1.0)
    assert 0 < max(found.values()) < 1e-5, found


def test_the_originals_is_divided_by_the_square_of_its_batch_size(case):
    found = compared(case, "Fisher_w_", unscaled(case.facts)) | compared(case, "Fisher_b_", unscaled(case.facts))
    assert 0 < max(found.values()) < 1e-5, found


def test_heads_of_other_tasks_have_no_information(case):
    kernel = np.asarray(case.leaves["params/classifier/dense/kernel"])
    others = np.setdiff1d(np.arange(kernel.shape[1]), case.own)
    assert np.all(kernel[:, others] == 0) and len(others)
    assert np.all(np.max(kernel[:, case.own], axis=0) > 0)
