"""The dampening loss: by hand and the original's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses.dampening import AGGREGATIONS, dampening
from lifeq_jax.quant import QUANTIZERS
from tests import vectors
from tests.torch_layout import to_array, under

LSQ = QUANTIZERS["lsq"]
CASES = {case: args for case, args in vectors.cases("osc_dampening").items() if "aggregation" in args}


def scalar_or_array(value):
    return to_array(value) if value.ndim else jnp.float32(value)


def learned_of(arrays, args):
    scale = scalar_or_array(arrays["delta"])
    if args["method"] == "asym":
        return {"scale": scale, "zero": scalar_or_array(arrays["zero_float"])}
    return {"scale": scale, "low": jnp.float32(-(2.0 ** (args["n_bits"] - 1)) if arrays["w"].min() < 0 else 0.0)}


def loss_of(quantizer, learned, kernel, aggregation):
    value = quantizer.apply(learned, kernel)
    return dampening(value, quantizer.relax(learned, kernel), AGGREGATIONS[aggregation])


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_the_originals(case):
    args, arrays = CASES[case], under(vectors.arrays("osc_dampening"), f"{case}_")
    quantizer = LSQ(args["n_bits"], per_channel=args["per_channel"], symmetric=args["method"] == "sym")
    learned, kernel = learned_of(arrays, args), to_array(arrays["w"])
    np.testing.assert_allclose(quantizer.apply(learned, kernel), to_array(arrays["wq"]), rtol=1e-5, atol=1e-7)
    value, (slope, pull) = jax.value_and_grad(loss_of, (1, 2))(quantizer, learned, kernel, args["aggregation"])
    # Both are differences of weights around 1, so their own rounding shows: 1e-7 absolute in each square root.
    np.testing.assert_allclose(value, arrays["loss"], rtol=1e-5)
    np.testing.assert_allclose(pull, to_array(arrays["gw"]), rtol=1e-5, atol=5e-7)
    np.testing.assert_allclose(slope["scale"], 0.0, atol=1e-5)
    np.testing.assert_allclose(arrays["gdelta"], 0.0, atol=1e-5)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_sum_over_two_layers_is_the_originals(aggregation):
    arrays = under(vectors.arrays("osc_dampening"), "model_")
    kernels = [to_array(arrays[f"w{layer}"]) for layer in range(2)]

    def loss(kernels):
        states = [{"scale": jnp.float32(arrays[f"delta{layer}"].item()), "low": jnp.float32(-8)} for layer in range(2)]
        return 0.37 * sum(loss_of(LSQ(4), *pair, aggregation) for pair in zip(states, kernels, strict=True))

    value, pulls = jax.value_and_grad(loss)(kernels)
    np.testing.assert_allclose(value, arrays[f"{aggregation}_loss"], rtol=1e-5)
    for layer, pull in enumerate(pulls):
        np.testing.assert_allclose(pull, to_array(arrays[f"{aggregation}_g{layer}"]), rtol=1e-5, atol=5e-7)


@pytest.mark.parametrize(("aggregation", "value"), [("sum", 30.0), ("mean", 5.0), ("kernel_mean", 15.0)])
def test_by_hand(aggregation, value):
    # squares 0 1 4 / 9 16 0 of a kernel (2 in, 3 out)
    latent = jnp.array([[0.0, 1.0, -2.0], [3.0, -4.0, 0.0]])
    np.testing.assert_allclose(dampening(jnp.zeros((2, 3)), latent, AGGREGATIONS[aggregation]), value)


def test_the_quantized_weight_is_a_target():
    slope = jax.grad(lambda value: dampening(value, jnp.ones(3), AGGREGATIONS["sum"]))(jnp.zeros(3))
    np.testing.assert_array_equal(slope, jnp.zeros(3))


def test_weights_beyond_the_grid_are_left_alone():
    learned = {"scale": jnp.float32(0.5), "low": jnp.float32(-4)}
    kernel = jnp.array([5.0, 1.7, -9.0])
    pull = jax.grad(lambda w: loss_of(LSQ(3), learned, w, "sum"))(kernel)
    np.testing.assert_allclose(pull, [0.0, 0.0, 0.0], atol=1e-7)
    pull = jax.grad(lambda w: loss_of(LSQ(3), learned, w, "sum"))(jnp.array([1.3, -1.8]))
    np.testing.assert_allclose(pull, [2 * (1.3 - 1.5), 2 * (-1.8 + 2.0)], rtol=1e-4)
