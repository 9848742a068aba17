import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.models.resnet_cifar import resnet18_84
from lifeq_jax.quant import QUANTIZERS

FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)


def test_norms_without_scale_and_bias():
    leaves = named_leaves(variable_shapes(resnet18_84(3, FLOAT), (8, 8, 3)))
    assert {name.rpartition("/")[2] for name in leaves if "/norm/" in name} == {"mean", "var"}
    assert [name for name in leaves if name.endswith("/bias")] == ["params/classifier/dense/bias"]


@pytest.mark.parametrize(("mul", "widths"), [(1.5, [96, 192, 384, 768]), (0.8, [51, 102, 204, 409])])
def test_features_are_rounded_down(mul, widths):
    params = variable_shapes(resnet18_84(3, FLOAT, mul=mul), (8, 8, 3))["params"]
    found = [params[f"blocks_{index}"]["units_1"]["conv"]["kernel"].shape[-1] for index in (1, 3, 5, 7)]
    assert found == widths
    assert params["stem"]["conv"]["kernel"].shape == (3, 3, 3, widths[0])


def test_the_window_is_the_top_left_part_of_what_is_averaged():
    whole = resnet18_84(3, FLOAT, mul=1 / 16).clone(blocks_of_stage=(1, 1))
    variables = initialize(whole, 0, (12, 12, 1))  # 12 -> 6 -> 3
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 1)), jnp.float32)

    @jax.jit
    def run(variables, image):
        of_block = {"capture_intermediates": lambda module, _: module.name == "blocks_1", "mutable": ["intermediates"]}
        last = whole.apply(variables, image, False, **of_block)[1]["intermediates"]["blocks_1"]["__call__"][0]
        windows = [whole.clone(window=side).apply(variables, image, False, method="features") for side in (0, 2, 3)]
        return last, windows

    last, (everywhere, corner, all_three) = run(variables, image)
    assert last.shape == (2, 3, 3, 8)
    np.testing.assert_allclose(everywhere, last.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(all_three, everywhere, rtol=1e-6)
    np.testing.assert_allclose(corner, last[:, :2, :2].mean((1, 2)), rtol=1e-6)
    assert np.any(corner != everywhere)


@pytest.mark.parametrize("mul", [0, 1 / 65, float("nan"), float("inf")])
def test_a_factor_that_leaves_no_features_is_refused(mul):
    with pytest.raises(Refusal, match=f"recipe.model mul={mul} is not a factor of 64 features; choose a number from"):
        resnet18_84(3, FLOAT, mul=mul)


def test_a_window_below_zero_is_refused():
    with pytest.raises(Refusal, match="recipe.model window=-1 is not a size; choose 4 as the original, or 0 for all"):
        resnet18_84(3, FLOAT, window=-1)
