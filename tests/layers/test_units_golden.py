"""ConvUnit against the quantized convolution with batch norm of Overcoming Oscillations, forward and backward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models.mobilenet_v2 import relu6
from lifeq_jax.quant.lsq import lsq
from tests.torch_layout import to_array, to_image, under


class Case(NamedTuple):
    position: str
    function: object
    weight_bits: int
    act_bits: int
    symmetric: bool = True  # the activation's
    per_channel: bool = False
    stride: int = 1
    groups: int = 1


CASES = {  # the scalars of osc_folded_bn in the manifest
    "b0": Case("input", relu6, 4, 4, stride=2),
    "b1": Case("output", jax.nn.relu, 3, 4, symmetric=False, stride=2),
    "b2": Case("input", relu6, 3, 3, per_channel=True, groups=4),
    "b3": Case("input", None, 4, 8, symmetric=False),
    "b4": Case("input", jax.nn.relu, 32, 32, stride=2),
}


def kernel(value):
    """HWIO of a convolution; a linear layer is a 1x1 convolution here."""
    return to_array(value.reshape(*value.shape, *[1] * (4 - value.ndim)))


def image(value):
    return to_image(value.reshape(*value.shape, *[1] * (4 - value.ndim)))


def unit_of(case, features, size):
    quantizers = Quantizers(
        case.position,
        lambda role: lsq(case.weight_bits, per_channel=case.per_channel),
        lambda role: lsq(case.act_bits, symmetric=case.symmetric),
    )
    return ConvUnit(features, size, quantizers, stride=case.stride, groups=case.groups, function=case.function)


def variables(case, arrays):
    params = {
        "conv": {"kernel": kernel(arrays["w"])},
        "norm": {"scale": jnp.array(arrays["gamma"]), "bias": jnp.array(arrays["beta"])},
    }
    if case.weight_bits < 32:
        scale = arrays["w_delta"].reshape(1, 1, 1, -1) if case.per_channel else arrays["w_delta"]
        low = jnp.float32(-(2 ** (case.weight_bits - 1)))
        params["conv"]["quantizer"] = {"scale": jnp.array(scale), "low": low}
        other = {"low": jnp.float32(-(2 ** (case.act_bits - 1)))}
        if not case.symmetric:
            other = {"zero": jnp.array(arrays["a_zero"])}
        params["act"] = {"quantizer": {"scale": jnp.array(arrays["a_delta"]), **other}}
    stats = {"norm": {"mean": jnp.array(arrays["rm"]), "var": jnp.array(arrays["rv"])}}
    return {"params": params, "batch_stats": stats}


def close(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_unit(golden, name):
    case, arrays = CASES[name], under(golden("osc_folded_bn"), f"{name}_")
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


def test_every_case_is_compared(golden):
    found = {key.partition("_")[0] for key in golden("osc_folded_bn")}
    assert found - {"re"} == set(CASES)  # re: tests/train/test_bn_stats.py
