import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import codes as module
from lifeq_jax.quant.base import dequantize
from lifeq_jax.quant.lsq import lsq
from lifeq_jax.quant.uniform import minmax


@pytest.fixture
def table():
    return {"stem/conv/kernel": lsq(3), "head/kernel": minmax(4)}


@pytest.fixture
def params():
    draw = np.random.default_rng(0)
    kernel, head = (jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in ((3, 3, 2, 4), (4, 5)))
    learned = {"scale": jnp.float32(0.3), "low": jnp.float32(-4)}
    return {
        "stem": {"conv": {"kernel": kernel, module.LEARNED: learned}, "act": {module.LEARNED: {"scale": jnp.ones(())}}},
        "head": {"kernel": head, "bias": jnp.ones(5)},
    }


def test_learned_state_is_found_beside_its_kernel(params):
    assert set(module.learned_of(params, "stem/conv/kernel")) == {"scale", "low"}
    assert module.learned_of(params, "head/kernel") == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stem/conv/quantizer/scale", True),
        ("quantizer/scale", True),
        ("stem/conv/kernel", False),
        ("quantizer_0/kernel", False),
    ],
)
def test_names_of_learned_state(name, expected):
    assert module.is_learned(name) == expected


def test_quantize_acts_on_the_kernels_of_the_table_alone(table, params):
    found = module.quantize_kernels(table, params)
    learned, kernel = params["stem"]["conv"][module.LEARNED], params["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(found["stem"]["conv"]["kernel"], lsq(3).apply(learned, kernel))
    np.testing.assert_array_equal(found["head"]["kernel"], minmax(4).apply({}, params["head"]["kernel"]))
    for path in (("head", "bias"), ("stem", "act"), ("stem", "conv", module.LEARNED)):
        ours, theirs = found, params
        for key in path:
            ours, theirs = ours[key], theirs[key]
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_codes_dequantize_to_the_quantized_kernels(table, params):
    found, weights = module.kernel_codes(table, params), module.quantize_kernels(table, params)
    assert set(found) == set(table)
    np.testing.assert_array_equal(dequantize(found["stem/conv/kernel"]), weights["stem"]["conv"]["kernel"])
    np.testing.assert_array_equal(dequantize(found["head/kernel"]), weights["head"]["kernel"])


def test_relax_limits_to_the_grid(table, params):
    found = module.relax(table, params)
    kernel = params["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(found["stem/conv/kernel"], np.clip(kernel, -1.2, 0.9), rtol=1e-6)
    np.testing.assert_array_equal(found["head/kernel"], params["head"]["kernel"])


def test_mask_is_true_on_the_kernels_of_the_table(table, params):
    leaves = jax.tree_util.tree_leaves_with_path(module.mask(table, params))
    assert {jax.tree_util.keystr(path) for path, on in leaves if on} == {
        "['stem']['conv']['kernel']",
        "['head']['kernel']",
    }
