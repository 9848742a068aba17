import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, QuantConv
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import ConvUnit
from lifeq_jax.models.mobilenet_v2 import relu6
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.train.bn_stats import make_reestimate
from tests.torch_layout import to_array, to_image


class Unpadded(ConvUnit):
    def setup(self):
        weight = self.quantizers.weight("inner")
        self.conv = QuantConv(4, (3, 3), padding=0, feature_group_count=4, use_bias=False, weight=weight)
        self.norm = BatchNorm()
        self.act = QuantAct(self.quantizers.activation("inner"))


class Recorded(nn.Module):
    """The network of golden osc_folded_bn's case `re`."""

    quantizers: Quantizers

    def setup(self):
        self.first = ConvUnit(4, 3, self.quantizers, function=relu6)
        self.second = Unpadded(4, 3, self.quantizers, groups=4, function=relu6)

    def __call__(self, x, train):
        return self.second(self.first(x, train), train)


def unit(case, layer):
    lowest = -8.0 if case[f"re_l{layer}_a_signed"] else 0.0
    params = {
        "conv": {
            "kernel": to_array(case[f"re_l{layer}_w"]),
            "quantizer": {"scale": jnp.asarray(case[f"re_l{layer}_w_delta"]), "low": jnp.float32(-8)},
        },
        "norm": {"scale": to_array(case[f"re_l{layer}_gamma"]), "bias": to_array(case[f"re_l{layer}_beta"])},
        "act": {"quantizer": {"scale": jnp.asarray(case[f"re_l{layer}_a_delta"]), "low": jnp.float32(lowest)}},
    }
    stats = {"norm": {"mean": to_array(case[f"re_l{layer}_rm"]), "var": to_array(case[f"re_l{layer}_rv"])}}
    return params, stats


def test_the_originals_reestimation(golden):
    case = golden("osc_folded_bn")
    model = Recorded(Quantizers("input", lambda role: QUANTIZERS["lsq"](4), lambda role: QUANTIZERS["lsq"](4)))
    pairs = {name: unit(case, layer) for name, layer in (("first", 0), ("second", 2))}
    params, stats = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))

    def evaluate(statistics):
        variables = {"params": params, "batch_stats": statistics}
        return np.transpose(model.apply(variables, to_image(case["re_x"][0]), train=False), (0, 3, 1, 2))

    def moments(params, image):
        _, new = model.apply({"params": params}, image, train=True, mutable=["batch_stats", "moments"])
        return new["moments"]

    found = make_reestimate(moments)(params, [to_image(batch) for batch in case["re_x"][:3]])
    np.testing.assert_allclose(evaluate(stats), case["re_y_before"], rtol=1e-5, atol=1e-5)
    for name, layer in (("first", 0), ("second", 2)):
        np.testing.assert_allclose(found[name]["norm"]["mean"], case[f"re_l{layer}_rm_after"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[name]["norm"]["var"], case[f"re_l{layer}_rv_after"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(evaluate(found), case["re_y_after"], rtol=1e-5, atol=1e-5)


def test_it_is_the_plain_mean_over_batches():
    found = make_reestimate(lambda params, image: {"mean": params * jnp.mean(image)})(2.0, [jnp.ones(3), jnp.zeros(3)])
    assert float(found["mean"]) == 1.0


def test_no_batch_is_refused():
    with pytest.raises(Refusal, match="needs at least 1 training batch"):
        make_reestimate(lambda params, image: image)({}, [])
