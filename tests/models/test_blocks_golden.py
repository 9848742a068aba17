from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.mobilenet_v2 import Block
from lifeq_jax.models.resnet import Block as ResNetBlock
from lifeq_jax.quant import QUANTIZERS
from tests import vectors
from tests.torch_layout import MOBILE_V2, RESNET20, block_names, leaf_name, to_array, to_image, to_variables, under

NAMES = {kind: block_names(names) for kind, names in (("res", RESNET20), ("mob", MOBILE_V2))}
CASES = [case for (case,) in vectors.keys("blocks", "(.+)/ct")]
CDF = (
    partial(QUANTIZERS["cdf"], levels="open"),
    partial(QUANTIZERS["cdf_activation"], ratio="sample_normalized", levels="open"),
)
QUANTIZERS_OF = {
    "lq_res": (partial(QUANTIZERS["proxq"], levels="open"), QUANTIZERS["activation"]),
    "lq_mob": (
        partial(QUANTIZERS["proxq"], range_=0.5, levels="open"),
        partial(QUANTIZERS["activation"], normalize=True),
    ),
    "cq_res": CDF,
    "cq_mob": CDF,
}


def block(case):
    family, facts = case.partition("/")[0], vectors.scalars("blocks")[f"{case}/cfg"]
    of_role = quantizers("convolutions", *QUANTIZERS_OF[family], facts["wbit"], facts["abit"])
    features, stride = facts["out_planes"], facts["stride"]
    if family.endswith("res"):
        return ResNetBlock(features, stride, stride != 1, of_role)
    return Block(
        features=features,
        expansion=facts["expansion"],
        stride=stride,
        quantizers=of_role,
        in_features=facts["in_planes"],
        shortcut_kind="conv",
    )


def of_batch(module, arrays):
    """The block as one training batch sees it; LifeQuant knows no ratio of classes."""
    if "p_train" not in arrays:
        return module
    return module.clone(quantizers=module.quantizers.of_batch(jnp.asarray(vectors.double(arrays["p_train"].ravel()))))


def expected_gradients(arrays, mode):
    """(gradient of the input, of each parameter in train mode), with sums below 1e-5 as 0 where the file has them.

    ClimbQ's shortcuts add opposite values of one grid. The original leaves a residue of 1e-8 of some such sums, and its
    ReLU then passes their gradient; ours are 0."""
    tiny = "_tiny0" if f"{mode}/gx_tiny0" in arrays else ""
    return arrays[f"{mode}/gx{tiny}"], under(arrays, f"{mode}/g{tiny}/")


def close(found, expected, case, name):
    """Up to 1e-5 of the largest value, and to the distance of the original's own float32 gradients from its float64."""
    own = vectors.scalars("blocks")[f"{case}/{name.partition('/')[0]}/f32_vs_f64"][1] * np.linalg.norm(expected)
    tolerance = 1e-5 * np.abs(expected).max() + own
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance, err_msg=f"{case} {name}")


@pytest.mark.parametrize("case", CASES)
def test_block_is_the_original(case):
    arrays = under(vectors.arrays("blocks"), case + "/")
    state, names = under(arrays, "state/"), NAMES[case.partition("/")[0][3:]]
    module, variables = block(case), vectors.double(to_variables(names, state))
    image, cotangent = vectors.double((to_image(arrays["x"]), to_image(arrays["ct"])))
    with jax.enable_x64(True):
        for mode in ("eval", "train"):
            module = of_batch(module, arrays) if mode == "train" else module

            def run(params, x, module=module, train=mode == "train"):
                found, _ = module.apply({**variables, "params": params}, x, train, mutable=["batch_stats"])
                return found

            y, pullback = jax.vjp(jax.jit(run), variables["params"], image)
            gradient, gx = pullback(jnp.asarray(cotangent))
            expected_gx, expected = expected_gradients(arrays, mode)
            close(y, to_image(arrays[f"{mode}/y"]), case, f"{mode}/y")
            close(gx, to_image(expected_gx), case, f"{mode}/gx")
    leaves = named_leaves(gradient)
    assert len(expected) == len(leaves)
    for name, value in expected.items():
        close(leaves[leaf_name(names, name, value.ndim)], to_array(value), case, f"train/g/{name}")
