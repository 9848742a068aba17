import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.train.build import build_network, complete
from lifeq_jax.train.calibrate import calibrate


@pytest.fixture
def network(recipe, changed):
    lsq = Part("lsq", {"ranges": "minmax"})
    return build_network(complete(changed(recipe, weight_quantizer=lsq, act_quantizer=lsq)), recipe.stages[-1])


def images(count):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=(4, 8, 8, 1)), jnp.float32) for _ in range(count)]


def test_scales_come_from_weights_and_activations(network):
    params, batch_stats = network.init(0)
    before, after = (
        named_leaves(params),
        named_leaves(calibrate(network.observe_ranges, params, batch_stats, images(2))),
    )
    scales = {name for name in before if name.endswith("quantizer/scale")}
    assert len(scales) == len(network.table) + 3  # three convolutions, each with its activations
    for name in scales:
        assert float(before[name]) == 1.0 and 0 < float(after[name]) < 1
    for kernel in network.table:
        reach = float(jnp.max(jnp.abs(before[kernel])))
        scale = after[kernel.replace("kernel", "quantizer/scale")]
        assert float(scale) == pytest.approx(reach / 7)  # 4 bits, signed
    for name in before.keys() - scales:
        if not name.endswith("quantizer/low"):
            assert (before[name] == after[name]).all(), name


def test_every_batch_counts(recipe, changed):
    lsq = Part("lsq", {"ranges": "running_minmax"})
    network = build_network(complete(changed(recipe, act_quantizer=lsq)), recipe.stages[-1])
    params, batch_stats = network.init(0)
    one, two = (named_leaves(calibrate(network.observe_ranges, params, batch_stats, images(n))) for n in (1, 2))
    scales = [name for name in one if name.endswith("quantizer/scale")]
    assert scales and all(float(one[name]) != float(two[name]) for name in scales)


def test_nothing_is_touched_where_nothing_learns(recipe):
    network = build_network(complete(recipe), recipe.stages[-1])
    params, batch_stats = network.init(0)
    assert calibrate(network.observe_ranges, params, batch_stats, None) is params
