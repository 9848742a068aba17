"""State dicts of torchvision and timm: equal logits, and every misfit refused by name."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.efficientnet_lite import efficientnet_lite0
from lifeq_jax.models.loading import variable_shapes
from lifeq_jax.models.mobilenet_v2 import mobilenet_v2
from lifeq_jax.models.mobilenet_v3 import mobilenet_v3_small
from lifeq_jax.models.resnet import resnet18, resnet50
from lifeq_jax.models.torch_weights import SCHEMES, load_torch, read_state
from lifeq_jax.quant.rounding import identity
from tests.models.torch_nets import NETS, Net

MAKERS = {
    "efficientnet_lite0": efficientnet_lite0,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
    "resnet50": resnet50,
}
SHAPE, CLASSES = (8, 8, 3), 5
FLOAT = quantizers("LSQ", lambda bits: identity(), lambda bits: identity(), 32, 32)


@functools.cache
def shapes_of(model):
    return variable_shapes(MAKERS[model](CLASSES, FLOAT), SHAPE)


@functools.cache
def recorded(name):
    """(images NHWC, logits, state dict) of a network of NETS."""
    _, forward, epsilon, gain = NETS[name]
    net, image = Net(1, epsilon, gain), np.random.default_rng(2).normal(size=(2, 3, 8, 8))
    logits = forward(net, image, CLASSES)
    return image.transpose(0, 2, 3, 1), logits, net.state


@pytest.fixture
def saved(tmp_path):
    def save(state):
        save_file(state, tmp_path / "weights.safetensors")
        return tmp_path / "weights.safetensors"

    return save


def small_state():
    return recorded("torchvision mobilenet_v3_small")[2]


def test_every_scheme_is_tested():
    assert {net[0] for net in NETS.values()} == set(SCHEMES)
    assert len(NETS) == sum(map(len, SCHEMES.values()))


@pytest.mark.parametrize("name", NETS)
def test_equal_logits(name, saved):
    model = NETS[name][0]
    image, logits, state = recorded(name)
    variables = load_torch(model, saved(state), shapes_of(model))
    found = jax.jit(lambda v, x: MAKERS[model](CLASSES, FLOAT).apply(v, x, train=False))(variables, jnp.array(image))
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5 * np.abs(logits).max())
    assert np.ptp(logits, axis=0).min() > 1e-3 * np.abs(logits).max()  # the images differ in every logit


def test_what_quantizers_learn_stays_as_it_is(saved):
    shapes = shapes_of("mobilenet_v3_small")
    stem = {**shapes["params"]["stem"], "act": {"quantizer": {"scale": jnp.float32(3)}}}
    shapes = {**shapes, "params": {**shapes["params"], "stem": stem}}
    found = load_torch("mobilenet_v3_small", saved(small_state()), shapes)
    assert found["params"]["stem"]["act"]["quantizer"]["scale"] == 3
    assert jax.tree.structure(found) == jax.tree.structure(shapes)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))


def refused(state, saved, model="mobilenet_v3_small"):
    with pytest.raises(Refusal) as caught:
        load_torch(model, saved(state), shapes_of(model))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_name_is_refused(saved):
    state = {name: value for name, value in small_state().items() if name != "features.4.block.2.fc1.bias"}
    assert "1 in all: features.4.block.2.fc1.bias is missing" in refused(state, saved)


def test_a_name_left_over_is_refused(saved):
    assert "1 in all: fc.weight is left over" in refused({**small_state(), "fc.weight": np.zeros((5, 3))}, saved)


def test_a_misshapen_tensor_is_refused(saved):
    state = {
        **small_state(),
        "features.0.0.weight": np.zeros((16, 1, 3, 3)),
        "classifier.3.weight": np.zeros((1000, 1024)),
    }
    line = refused(state, saved)
    assert "2 in all" in line
    assert "features.0.0.weight is 16x1x3x3, wanted 16x3x3x3" in line
    assert "classifier.3.weight is 1000x1024, wanted 5x1024" in line


def test_the_weights_of_another_network_are_refused_with_three_names(saved):
    line = refused(recorded("torchvision resnet18")[2], saved)
    assert line.count("is missing") == 3
    assert "; and " in line


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(Refusal, match="'resnet20'.*choose from efficientnet_lite0, .*resnet50"):
        load_torch("resnet20", tmp_path / "a.safetensors", {})


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"0123456789")
    with pytest.raises(Refusal, match="bad.safetensors is not a safetensors file"):
        read_state(tmp_path / "bad.safetensors")
    with pytest.raises(Refusal, match="absent.pth does not exist"):
        read_state(tmp_path / "absent.pth")
    with pytest.raises(Refusal, match="'.onnx'.*choose from .pt, .pth, .safetensors"):
        read_state(tmp_path / "net.onnx")


class Tensor:
    """A stand-in for torch.Tensor: torch is not among the requirements, so these tests run without it."""

    def __init__(self, value):
        self.value = value

    def detach(self):
        return self

    def float(self):
        return Tensor(self.value.astype(np.float32))

    def numpy(self):
        return self.value


@pytest.fixture
def stand_in_torch(monkeypatch, tmp_path):
    """A module `torch` whose load returns the content given; shows that it was asked for weights only."""

    def load_returns(content):
        def load(path, *, map_location, weights_only):
            assert weights_only is True
            assert map_location == "cpu"
            if isinstance(content, Exception):
                raise content
            return content

        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=Tensor))
        (tmp_path / "weights.pth").touch()
        return tmp_path / "weights.pth"

    return load_returns


@pytest.mark.parametrize("nested", [False, True])
def test_torch_files(stand_in_torch, nested):
    state = {f"module.{name}": Tensor(value.astype(np.float64)) for name, value in small_state().items()}
    path = stand_in_torch({"epoch": 3, "state_dict": state} if nested else state)
    found = read_state(path)
    assert set(found) == {name for name in small_state() if not name.endswith("num_batches_tracked")}
    assert all(value.dtype == np.float32 for value in found.values())
    np.testing.assert_array_equal(found["classifier.3.bias"], small_state()["classifier.3.bias"])
    shapes = shapes_of("mobilenet_v3_small")
    loaded = load_torch("mobilenet_v3_small", path, shapes)
    np.testing.assert_array_equal(loaded["params"]["classifier"]["dense"]["bias"], found["classifier.3.bias"])


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"epoch": 3}])
def test_torch_files_without_a_state_dict_are_refused(stand_in_torch, content):
    with pytest.raises(Refusal, match="weights.pth holds no state dict"):
        read_state(stand_in_torch(content))


def test_what_torch_does_not_load_is_refused_in_one_line(stand_in_torch):
    with pytest.raises(Refusal, match=r"weights.pth is not read .*: Weights only load failed$"):
        read_state(stand_in_torch(RuntimeError("Weights only load failed\nlong advice")))


def test_torch_files_without_torch_are_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pt").touch()
    with pytest.raises(Refusal, match="reading .pt needs torch; save the weights as .safetensors"):
        read_state(tmp_path / "weights.pt")
