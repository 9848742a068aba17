"""ClimbQ's networks, whole: the definitions that LifeQuant's networks have, with other quantizers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Examples
from lifeq_jax.models import MODELS
from lifeq_jax.quant import QUANTIZERS
from tests.models.whole_network import assert_as_recorded, distance, distances, regenerated, whole_pass
from tests.torch_layout import MOBILE_V2, RESNET20, leaf_name, to_array, to_image, to_variables, under

MINI = ((1, 16, 1, 1), (3, 24, 1, 2), (2, 320, 1, 1))
SEED = 754  # of the mini network's parameters
# Distances allowed at 32x32, forward and in the gradients of convolutions. At 8 bits some activations are so close to a
# tie that they round either way with the order of a float32 sum, and all that follows them moves: the original's own
# float32 and float64 runs differ there by 0.37 in the gradient.
LIMITS = {"w2a2": (1e-4, 1e-4), "w4a4": (1e-4, 1e-4), "w8a8": (1e-2, 0.8), "w32a32": (1e-4, 1e-3)}


def original(name, bits, **args):
    weight = partial(QUANTIZERS["cdf"], levels="open")
    activation = partial(QUANTIZERS["cdf_activation"], ratio="sample_normalized", levels="open")
    return MODELS[name](10, quantizers("convolutions", weight, activation, bits, bits), **args)


def without_residues(x):
    """ReLU, and 0 for the residues below 1e-5 of sums that cancel."""
    return jnp.where(x < 1e-5, jnp.zeros_like(x), x)


@pytest.fixture
def tiny0(monkeypatch):
    """The ReLU that the arrays *_tiny0 were made with."""
    monkeypatch.setattr(nn, "relu", without_residues)


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(golden("cq_resnet20"))


@pytest.fixture(scope="module")
def params(golden):
    return under(dict(golden("resnet20_params")), "param/")


@pytest.fixture(scope="module")
def mini(golden):
    return dict(golden("cq_mobile_v2"))


def expected(arrays, case):
    """The arrays of `case`, the gradients *_tiny0 in place of the others where the file has them."""
    found = under(arrays, case + "/")
    plain = {name: value for name, value in found.items() if not name.startswith(("grad", "homovar/"))}
    gradients = under(found, "grad_tiny0/") or under(found, "grad/")
    return plain | {f"grad/{name}": value for name, value in gradients.items()}


def run(model, variables, inputs, mode, **args):
    """One pass over the images under `inputs`; in train mode with their ratios of classes."""
    share = jnp.asarray(inputs["p_train"].ravel()) if mode == "train" else None
    label = jnp.asarray(inputs["labels"], jnp.int32)
    return whole_pass(model, variables, to_image(inputs["x"]), label, mode == "train", share, **args)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_small_images(tiny0, arrays, params, bits, mode):
    variables = to_variables(RESNET20, params | under(arrays, "buffer/"))
    case = f"small/w{bits}a{bits}"
    found = run(original("resnet20", bits), variables, under(arrays, case + "/"), mode)
    compared = distances(RESNET20, found, expected(arrays, f"{case}/{mode}"))
    assert max(compared.values()) < 1e-4, compared


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_float_network(arrays, params, mode):
    variables = to_variables(RESNET20, params | under(arrays, "w32a32/buffer/"))
    found = run(original("resnet20", 32), variables, arrays, mode)
    compared = distances(RESNET20, found, expected(arrays, f"w32a32/{mode}"))
    limits = {name: 1e-3 if mode == "train" and "conv" in name else 1e-4 for name in compared}
    assert all(compared[name] < limits[name] for name in compared), compared


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_network_on_32x32(tiny0, arrays, params, bits, mode):
    case = f"w{bits}a{bits}"
    forward, gradient = LIMITS[case]
    variables = to_variables(RESNET20, params | under(arrays, "buffer/"))
    compared = distances(
        RESNET20, run(original("resnet20", bits), variables, arrays, mode), expected(arrays, f"{case}/{mode}")
    )
    for name, value in compared.items():
        assert value < (gradient if "conv" in name else forward), (name, compared)


def homovar(logits, feature, label, counts):
    """The mean of the original's loss over a batch."""
    weight, progress = jnp.ones(len(label)), jnp.zeros(())
    examples = Examples(logits, feature, label, weight, jnp.array(counts), progress)
    return jnp.mean(LOSSES["homovar"](alpha=0.05, beta=0.999, statistics="original")(examples))


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_homovar_on_the_whole_network(arrays, params, bits):
    case, counts = f"w{bits}a{bits}", tuple(float(count) for count in arrays["homovar_counts"])
    buffers = under(arrays, f"{case}/buffer/") or under(arrays, "buffer/")
    variables = to_variables(RESNET20, params | buffers)
    found = run(original("resnet20", bits), variables, arrays, "train", loss=partial(homovar, counts=counts))
    golden = under(arrays, f"{case}/train/homovar/")
    forward, gradient = LIMITS[case]
    assert distance(found.loss, golden["loss"]) < forward, found.loss
    leaves = named_leaves(found.grads)
    for name, value in under(golden, "grad/").items():
        if bits < 32 and "conv" in name:  # the last bit of sums that cancel decides the original's
            continue
        far = distance(leaves[leaf_name(RESNET20, name, value.ndim)], to_array(value))
        assert far < (gradient if "conv" in name else forward), (name, far)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_mini_mobilenet(mini, bits, mode):
    case = f"mini/w{bits}a{bits}"
    buffers = under(mini, f"{case}/buffer/") or under(mini, "mini/buffer/")
    variables = to_variables(MOBILE_V2, regenerated(mini, "mini", SEED) | buffers)
    inputs = under(mini, case + "/")
    with jax.enable_x64(True):  # in float32 the order of a compiler's sums rounds one activation the other way
        double = partial(jax.tree.map, lambda leaf: np.asarray(leaf, np.float64))
        inputs |= {name: double(inputs[name]) for name in ("x", "p_train") if name in inputs}
        found = run(original("mobilenet_v2_cifar", bits, cfg=MINI), double(variables), inputs, mode)
    compared = distances(MOBILE_V2, found, expected(mini, f"{case}/{mode}"))
    assert max(compared.values()) < 1e-4, compared


def test_regenerated_parameters_are_the_recorded_ones(mini):
    assert_as_recorded(mini, "mini", regenerated(mini, "mini", SEED))
