"""A folded unit is the unit in evaluation, and its kernel has the same integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.export.fold import fold_codes, fold_norm, fold_units
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import quantizer_table
from lifeq_jax.layers.setups import Quantizers, quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models.inverted_residual import BlockShape, Network, hard_sigmoid
from lifeq_jax.models.loading import initialize
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import dequantize
from lifeq_jax.quant.codes import codes, quantize
from lifeq_jax.quant.rounding import identity

EPSILON = 1e-5
FLOAT = Quantizers("output", lambda role: identity(), lambda role: identity())


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def norm_state(features):
    """scale (both signs and 0), bias, mean, var of a norm."""
    values = np.random.default_rng(4).normal(size=(4, features)).astype(np.float32)
    values[0, 0] = 0
    return {"scale": values[0], "bias": values[1]}, {"mean": values[2], "var": np.abs(values[3]) + 0.1}


def after_training(variables):
    """`variables` with norms as after training."""
    generator = np.random.default_rng(3)

    def changed(name, leaf):
        if "norm" not in name:
            return leaf
        values = generator.uniform(0.5, 2, leaf.shape) if name.endswith("var") else generator.normal(size=leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return map_named(changed, variables)


def test_by_hand():
    kernel, bias = fold_norm(
        jnp.array([[1.0, 2.0]]),
        scale=jnp.array([3.0, -1.0]),
        bias=jnp.array([5.0, 0.0]),
        mean=jnp.array([1.0, 7.0]),
        var=jnp.array([3.0, 0.0]),
        epsilon=1.0,
    )
    np.testing.assert_allclose(kernel, [[1.5, -2.0]], rtol=1e-6)  # factors 3 / 2 and -1 / 1
    np.testing.assert_allclose(bias, [3.5, 7.0], rtol=1e-6)  # 5 - 1.5 and 0 + 7


@pytest.mark.parametrize("groups", [1, 4])
def test_a_folded_unit_is_the_unit_in_evaluation(groups):
    (norm, stats), x = norm_state(8), random((2, 6, 6, 4))
    unit = ConvUnit(8, 3, FLOAT, stride=2, groups=groups, function=jax.nn.relu)
    params = {"conv": {"kernel": random((3, 3, 4 // groups, 8), 1)}, "norm": norm}
    expected = unit.apply({"params": params, "batch_stats": {"norm": stats}}, x, False)
    folded = ConvUnit(8, 3, FLOAT, stride=2, groups=groups, function=jax.nn.relu, use_norm=False)
    found = folded.apply({"params": fold_units(params, {"norm": stats}, EPSILON)}, x, False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


ROWS = [
    ("lsq", {}),
    ("lsq", {"per_channel": True}),
    ("lsq", {"symmetric": False}),
    ("minmax", {}),
    ("proxq", {}),
    ("dorefa", {}),
]


@pytest.mark.parametrize(("name", "args"), ROWS)
@pytest.mark.parametrize("bits", [3, 8])
def test_a_folded_kernel_has_the_same_integers(name, args, bits):
    (norm, stats), kernel = norm_state(5), random((3, 3, 2, 5), 2)
    quantizer = QUANTIZERS[name](bits, **args)
    learned = quantizer.init(kernel)
    before = quantizer.codes(learned, kernel)
    after = fold_codes(before, norm["scale"], stats["var"], EPSILON)
    expected, _ = fold_norm(quantizer.apply(learned, kernel), **norm, **stats, epsilon=EPSILON)
    np.testing.assert_array_equal(after.values, before.values)
    assert after.scale.shape == (1, 1, 1, 5)
    np.testing.assert_allclose(dequantize(after), expected, rtol=1e-6, atol=0)
    assert np.all(np.asarray(expected)[..., 0] == 0)  # the channel whose norm has scale 0


class Bias(nn.Module):
    """In place of a norm that was folded: the bias alone."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train):
        return x + self.param("bias", nn.initializers.zeros, x.shape[-1:]).reshape(1, 1, 1, -1)


def bias_for_norm(folded, params):
    """Folded parameters for a network whose norms are Bias: the biases of folded convolutions move there."""
    if not isinstance(params, dict):
        return folded
    moved = {name: bias_for_norm(child, params.get(name)) for name, child in folded.items()}
    if "norm" in params:
        moved["norm"] = {"bias": moved["conv"].pop("bias")}
    return moved


def network(setup, make, bits, make_norm):
    shapes = (BlockShape(3, 8, 8, 1, jax.nn.relu, 8), BlockShape(5, 16, 8, 2, hard_sigmoid))
    made = quantizers(setup, make, lambda bits: identity(), bits, 32)
    return Network(3, made, 8, 1, shapes, 16, jax.nn.relu, hidden=8, make_norm=make_norm)


def calibrated(table, params):
    """`params` with the learned state that each quantizer of `table` finds in its kernel."""
    leaves = named_leaves(params)
    found = {
        f"{name.removesuffix('kernel')}quantizer/{key}": leaf
        for name, quantizer in table.items()
        for key, leaf in quantizer.init(leaves[name]).items()
    }
    return map_named(lambda name, leaf: found.get(name, leaf), params)


@pytest.mark.parametrize("setup", ["LSQ", "convolutions"])
def test_a_whole_network(setup):
    shape, image = (6, 6, 2), random((2, 6, 6, 2))
    model = network(setup, QUANTIZERS["lsq"], 4, BatchNorm)
    variables = after_training(initialize(model, 0, shape))
    stats, table = variables["batch_stats"], quantizer_table(model, shape)
    params = calibrated(table, variables["params"])
    expected = jax.jit(lambda p: model.apply({**variables, "params": p}, image, False))(params)

    folded = fold_units(quantize(table, params), stats, EPSILON)
    without_norm = network(setup, lambda bits: identity(), 32, Bias)
    found = jax.jit(lambda p: without_norm.apply({"params": p}, image, False))(bias_for_norm(folded, params))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())

    kernels = [name for name in table if name.endswith("conv/kernel")]
    assert len(kernels) == 10
    for name in kernels:
        unit, unit_stats, of_folded = params, stats, folded
        for key in name.split("/")[:-2]:
            unit, unit_stats, of_folded = unit[key], unit_stats.get(key, {}), of_folded[key]
        integers = codes(table, params)[name]
        if "norm" in unit:
            integers = fold_codes(integers, unit["norm"]["scale"], unit_stats["norm"]["var"], EPSILON)
        np.testing.assert_allclose(dequantize(integers), of_folded["conv"]["kernel"], rtol=1e-6, atol=0)
