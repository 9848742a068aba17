import re
from functools import partial

import jax
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models import mobilenet_v2, resnet
from lifeq_jax.quant import QUANTIZERS
from tests.torch_layout import MOBILE_V2, RESNET20, block_names, leaf_name, to_array, to_image, to_variables, under

EXPANSION = {"s1": 3, "s2": 6}
NAMES = {"lq_res": block_names(RESNET20), "lq_mob": block_names(MOBILE_V2)}
CASES = [
    f"{family}/{stride}/w{bits}a{bits}"
    for family in ("lq_res", "lq_mob")
    for stride in ("s1", "s2")
    for bits in (1, 2, 4, 8, 32)
    if (stride, bits) != ("s2", 1)
]


def block(case, state):
    family, stride, bits = re.fullmatch(r"(\w+)/(s\d)/w(\d+)a\d+", case).groups()
    step, width = int(stride[1]), int(bits)
    if family == "lq_res":
        weight = partial(QUANTIZERS["proxq"], levels="open")
        of_role = quantizers("convolutions", weight, QUANTIZERS["activation"], width, width)
        return resnet.Block(state["conv1.weight"].shape[0], step, step != 1, of_role)
    weight = partial(QUANTIZERS["proxq"], range_=0.5, levels="open")
    activation = partial(QUANTIZERS["activation"], normalize=True)
    return mobilenet_v2.Block(
        features=state["conv3.weight"].shape[0],
        expansion=EXPANSION[stride],
        stride=step,
        quantizers=quantizers("convolutions", weight, activation, width, width),
        in_features=state["conv1.weight"].shape[1],
        shortcut_kind="conv",
    )


# This gradient's first element is a sum whose 72 terms add up to 2014 in magnitude and to -0.42 with their signs.
CANCELS = {"lq_mob/s1/w2a2/train/g/bn2.bias": 2e-4}


def close(found, expected, name):
    tolerance = CANCELS.get(name, 1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_block_is_the_original(golden, case):
    arrays = under(dict(golden("blocks")), case + "/")
    state = under(arrays, "state/")
    names = NAMES[case.partition("/")[0]]
    module, variables = block(case, state), to_variables(names, state)
    for mode in ("eval", "train"):

        def run(params, x, train=mode == "train"):
            found, _ = module.apply({**variables, "params": params}, x, train, mutable=["batch_stats"])
            return found

        y, pullback = jax.vjp(jax.jit(run), variables["params"], to_image(arrays["x"]))
        gradient, gx = pullback(to_image(arrays["ct"]))
        close(y, to_image(arrays[f"{mode}/y"]), f"{case}/{mode}/y")
        close(gx, to_image(arrays[f"{mode}/gx"]), f"{case}/{mode}/gx")
    expected = under(arrays, "train/g/")
    assert len(expected) == len(named_leaves(gradient))
    for name, value in expected.items():
        close(named_leaves(gradient)[leaf_name(names, name, value.ndim)], to_array(value), f"{case}/train/g/{name}")


def test_no_case_is_left_out(golden):
    stored = {"/".join(key.split("/")[:3]) for key in golden("blocks").files if key.startswith("lq_")}
    assert stored == set(CASES)
