"""The dampening loss: by hand and the original's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses.dampening import AGGREGATIONS, dampening
from lifeq_jax.quant import QUANTIZERS
from tests.torch_layout import to_array

LSQ = QUANTIZERS["lsq"]
CASES = {  # bits, per channel, symmetric, aggregation
    "d0": (4, False, True, "sum"),
    "d1": (4, False, True, "mean"),
    "d2": (4, False, True, "kernel_mean"),
    "d3": (3, True, True, "sum"),
    "d4": (3, True, True, "mean"),
    "d5": (3, True, True, "kernel_mean"),
    "d6": (4, False, False, "kernel_mean"),
    "d7": (3, True, False, "sum"),
}


def learned_of(arrays, bits, symmetric):
    scale = to_array(arrays["delta"]) if arrays["delta"].ndim else jnp.float32(arrays["delta"])
    if not symmetric:
        zero = arrays["zero_float"]
        return {"scale": scale, "zero": to_array(zero) if zero.ndim else jnp.float32(zero)}
    return {"scale": scale, "low": jnp.float32(-(2.0 ** (bits - 1)) if arrays["w"].min() < 0 else 0.0)}


def loss_of(quantizer, learned, kernel, aggregation):
    value = quantizer.apply(learned, kernel)
    return dampening(value, quantizer.relax(learned, kernel), AGGREGATIONS[aggregation])


@pytest.mark.parametrize("case", sorted(CASES))
def test_value_and_gradients_are_the_originals(golden, case):
    bits, per_channel, symmetric, aggregation = CASES[case]
    arrays = {name.removeprefix(f"{case}_"): value for name, value in golden("osc_dampening").items()}
    quantizer = LSQ(bits, per_channel=per_channel, symmetric=symmetric)
    learned, kernel = learned_of(arrays, bits, symmetric), to_array(arrays["w"])
    np.testing.assert_allclose(quantizer.apply(learned, kernel), to_array(arrays["wq"]), rtol=1e-5, atol=1e-7)
    value, (slope, pull) = jax.value_and_grad(loss_of, (1, 2))(quantizer, learned, kernel, aggregation)
    # Both are differences of weights around 1, so their own rounding shows: 1e-7 absolute in each square root.
    np.testing.assert_allclose(value, arrays["loss"], rtol=1e-5)
    np.testing.assert_allclose(pull, to_array(arrays["gw"]), rtol=1e-5, atol=5e-7)
    np.testing.assert_allclose(slope["scale"], 0.0, atol=1e-5)
    np.testing.assert_allclose(arrays["gdelta"], 0.0, atol=1e-5)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_sum_over_two_layers_is_the_originals(golden, aggregation):
    arrays = {name.removeprefix("model_"): value for name, value in golden("osc_dampening").items()}
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
