"""ConvUnit against the quantized convolution with batch norm of Overcoming Oscillations, forward and backward."""

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models.mobilenet_v2 import relu6
from lifeq_jax.quant.lsq import lsq
from tests import vectors
from tests.torch_layout import to_array, to_image, under

CASES = {case: args for case, args in vectors.cases("osc_folded_bn").items() if "kind" in args}
FUNCTIONS = {"relu6": relu6, "relu": jax.nn.relu, "none": None}
close = vectors.close


def four_axes(value):
    """With sizes of 1 behind: a linear layer is a 1x1 convolution here."""
    return value.reshape(*value.shape, *[1] * (4 - value.ndim))


def kernel(value):
    return to_array(four_axes(value))


def image(value):
    return to_image(four_axes(value))


def unit_of(case, features, size):
    bits = (case["n_bits_w"], case["n_bits_a"]) if case["quantised"] else (32, 32)
    quantizers = Quantizers(
        "input" if case["quantize_input"] else "output",
        lambda role: lsq(bits[0], per_channel=case["per_channel_weights"]),
        lambda role: lsq(bits[1], symmetric=case["act_method"] == "sym"),
    )
    stride, function = (case["stride"] or [1])[0], FUNCTIONS[case["activation"]]
    return ConvUnit(features, size, quantizers, stride=stride, groups=case["groups"] or 1, function=function)


def variables(case, arrays):
    params = {
        "conv": {"kernel": kernel(arrays["w"])},
        "norm": {"scale": jnp.array(arrays["gamma"]), "bias": jnp.array(arrays["beta"])},
    }
    if case["quantised"]:
        scale = arrays["w_delta"].reshape(1, 1, 1, -1) if case["per_channel_weights"] else arrays["w_delta"]
        low = jnp.float32(-(2 ** (case["n_bits_w"] - 1)))
        params["conv"]["quantizer"] = {"scale": jnp.array(scale), "low": low}
        of_act = {"low": jnp.float32(-(2 ** (case["n_bits_a"] - 1)) * bool(case["act_signed"]))}
        if case["act_method"] == "asym":
            of_act = {"zero": jnp.array(arrays["a_zero"])}
        params["act"] = {"quantizer": {"scale": jnp.array(arrays["a_delta"]), **of_act}}
    stats = {"norm": {"mean": jnp.array(arrays["rm"]), "var": jnp.array(arrays["rv"])}}
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize("name", CASES)
def test_unit(name):
    case, arrays = CASES[name], under(vectors.arrays("osc_folded_bn"), f"{name}_")
    state, x = variables(case, arrays), image(arrays["x"])
    unit = unit_of(case, len(arrays["w"]), arrays["w"].shape[-1] if arrays["w"].ndim == 4 else 1)

    def forward(params, x):
        return unit.apply({**state, "params": params}, x, True, mutable=["batch_stats"])

    y, pullback, after = jax.vjp(forward, state["params"], x, has_aux=True)
    grads, grad_x = pullback(image(arrays["g"]))
    close(unit.apply(state, x, False), image(arrays["y_eval"]))
    close(y, image(arrays["y_train"]))
    close(grad_x, image(arrays["gx"]))
    close(grads["conv"]["kernel"], kernel(arrays["gw"]))
    close(grads["norm"]["scale"], arrays["ggamma"])
    close(grads["norm"]["bias"], arrays["gbeta"])
    close(after["batch_stats"]["norm"]["mean"], arrays["rm_after"])
    close(after["batch_stats"]["norm"]["var"], arrays["rv_after"])
