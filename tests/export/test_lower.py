"""Programs of integers beside the networks they come from: codes, thresholds, logits."""

import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.check import Flips, StageWeights, compare
from lifeq_jax.export.integer import run
from lifeq_jax.export.lower import Lowered, Pixels, lower
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.layers.setups import SETUPS, Quantizers, quantizers
from lifeq_jax.layers.units import Classifier, ConvUnit
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.rounding import identity
from tests.export import networks
from tests.export.networks import (
    LARGE,
    LSQ,
    NETWORKS,
    POSITIONS,
    SHAPE,
    SMALL,
    images,
    lowered_of,
    made,
    of_setup,
    spec_of,
    trained,
)


def compared(network: StageWeights, shape=SHAPE, number=2) -> tuple[Lowered, Flips, float]:
    """(program, codes beside the network's, largest difference of a logit, in the largest logit) of the program in
    NumPy and of its exact ONNX file at no and at full optimization."""
    lowered, given = lowered_of(network, shape), images(number, shape)
    content = Writer(lowered.program).write()
    runtimes = {"numpy": lambda pixels, task: run(lowered.program, pixels, task)}
    runtimes |= {level: onnx_session(content, level) for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")}
    flips, rows = compare(network, lowered, spec_of(shape).numbers(), [given], runtimes)
    largest = np.abs(runtimes["numpy"](given.pixels, 0)).max()
    return lowered, flips, max(rows[name].logits for name in runtimes) / largest


def onnx_session(content, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options)
    return lambda pixels, task: session.run(None, {"image": pixels})[0]


def check(network: StageWeights, shape=SHAPE, misplaced=0) -> Lowered:
    """No code differs, and no threshold is misplaced."""
    lowered, flips, difference = compared(network, shape)
    assert flips.flipped == 0
    assert flips.codes == sum(np.prod(staged.integers.shape) for staged in lowered.staged) * 2
    assert difference < 1e-5
    assert sum(staged.misplaced for staged in lowered.staged) == misplaced
    return lowered


STRUCTURES = [
    *((name, "convolutions") for name in NETWORKS if name != "inverted residual"),
    ("inverted residual", "LSQ_paper"),
    ("resnet", "LSQ"),
]


@pytest.mark.parametrize(("name", "setup"), STRUCTURES)
def test_every_structure_of_a_network(name, setup):
    shape = LARGE.get(name, SHAPE)
    lowered = check(made(NETWORKS[name], setup, shape=shape, **of_setup(setup)), shape)
    assert sum(staged.thresholds for staged in lowered.staged) > 100
    kinds = {op.kind for op in lowered.program.ops}
    assert kinds >= {"pixels", "requantize"} and kinds & {"conv", "dense"}


@pytest.mark.parametrize("setup", sorted(SETUPS.keys() - POSITIONS.keys()))
def test_every_setup(setup):
    check(made(NETWORKS["mobilenet_v2" if "dw" in setup else "small"], setup, LSQ, LSQ))


WEIGHTS = [
    ("proxq", {}),
    ("proxq", {"levels": "open"}),
    ("minmax", {}),
    ("dorefa", {}),
    ("cdf", {}),
    ("lsq", {"ranges": "minmax"}),
    ("lsq", {"ranges": "minmax", "symmetric": False}),
    ("lsq", {"ranges": "minmax", "per_channel": True}),
    ("lsq", {"ranges": "minmax", "per_channel": True, "symmetric": False}),
]


ONE_BIT = [("proxq", {}), ("proxq", {"levels": "open"}), ("cdf", {"levels": "open"})]


@pytest.mark.parametrize(("weight", "bits"), [*((row, 3) for row in WEIGHTS), *((row, 1) for row in ONE_BIT)], ids=str)
def test_every_weight_quantizer(weight, bits):
    check(made(SMALL, weight=weight, bits=(bits, 4)))


ACTIVATIONS = [
    ("activation", {}),
    ("cdf_activation", {}),
    ("cdf_activation", {"levels": "open", "eval_ratio": 1.0}),
    ("lsq", {"ranges": "minmax", "log_scale": True}),
    ("lsq", {"ranges": "minmax", "symmetric": False}),
    ("lsq", {"ranges": "minmax", "per_channel": True}),
    ("lsq", {"ranges": "minmax", "per_channel": True, "symmetric": False}),
]


@pytest.mark.parametrize(
    ("act", "bits"), [*((row, 3) for row in ACTIVATIONS), *((row, 1) for row in ACTIVATIONS[1:3])], ids=str
)
def test_every_activation_quantizer(act, bits):
    check(made(SMALL, act=act, bits=(4, bits)))


@pytest.mark.parametrize("bits", range(1, 9))
def test_all_bits(bits):
    """Up to 4 bits every threshold is where the trained network has it; above, few are an accumulator off."""
    lowered, flips, difference = compared(made(SMALL, bits=bits))
    assert (flips.flipped, difference < 1e-5) == (0, True)
    thresholds, misplaced = (
        sum(getattr(item, name) for item in lowered.staged) for name in ("thresholds", "misplaced")
    )
    assert thresholds > 10 * (2**bits - 1)
    assert misplaced <= (0 if bits <= 4 else 0.02 * thresholds)
    assert max(staged.furthest for staged in lowered.staged) < 0.02
    assert {weight.stored for weight in lowered.program.weights.values()} == {bits}


def test_accumulators_of_unquantized_activations():
    """32-bit activations: every layer reads fixed-point numbers, limited by the norms."""
    _, flips, difference = compared(made(NETWORKS["mobilenet_v2"], bits=(4, 32)))
    assert flips == Flips(0, 0, 0, 0.0)
    assert difference < 1e-4


def test_three_channels_with_a_deviation_each():
    check(made(SMALL, shape=(6, 6, 3)), (6, 6, 3))


def test_a_norm_that_lets_nothing_through():
    network = trained(made(NETWORKS["resnet"]).model, SHAPE)
    norm = network.params["blocks_0"]["units_0"]["norm"]
    norm["scale"] = norm["scale"].at[:3].set(jnp.array([0.0, 1e-12, -1e-12]))
    lowered = check(network)
    staged = next(item for item in lowered.staged if item.layer == "blocks_0/units_0/act")
    source = next(op for op in lowered.program.ops if op.output.name == staged.integers.name)
    assert np.all(lowered.program.tensors[source.tensors["multiplier"]][:3] == 0)


class Own(nn.Module):
    """A user's network: any activation function, a quantizer after it or not."""

    function: object
    quantizers: Quantizers
    quantized: bool = True

    def setup(self):
        self.unit = ConvUnit(8, 3, self.quantizers, function=self.function, quantize_act=self.quantized)
        self.classifier = Classifier(networks.CLASSES, self.quantizers)

    def __call__(self, x, train):
        return self.classifier(jnp.mean(self.unit(x, train), axis=(1, 2)))


def own(function, quantized=True, setup="LSQ", **changed):
    chosen = quantizers(setup, *(lambda bits: QUANTIZERS["lsq"](bits, ranges="minmax"),) * 2, 4, 4)
    return trained(Own(function, chosen._replace(**changed), quantized), SHAPE)


FUNCTIONS = [nn.gelu, nn.hard_swish, nn.leaky_relu, nn.tanh]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_any_activation_function_before_a_quantizer(function):
    check(own(function))


def test_activation_functions_of_sums_and_products_without_a_quantizer():
    for function in (nn.relu6, nn.hard_swish):
        lowered, _, difference = compared(own(function, quantized=False, setup="convolutions"))
        assert difference < 1e-5
        assert not lowered.staged


def refused(network, shape=SHAPE):
    with pytest.raises(Refusal) as refusal:
        lower(*network, Pixels(shape, spec_of(shape).numbers()))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_refused_by_name():
    tanh = refused(own(nn.tanh, quantized=False, setup="convolutions"))
    assert tanh.startswith("tanh in ") and "no quantizer follows it" in tanh
    sorted_ = refused(own(lambda x: jnp.sort(x, axis=1)))
    assert sorted_.startswith("sort in ") and "no form in integers" in sorted_
    normalized = ("activation", {"normalize": True})
    assert "layer stem/act quantizes a value by all values of its batch" in refused(
        made(NETWORKS["resnet"], act=normalized)
    )
    unlimited = refused(made(NETWORKS["resnet"], act=("dorefa", {}), bits=8))
    assert "layer blocks_0/units_1/act has codes from -" in unlimited and "at most 16 bits" in unlimited


def test_only_the_classifier_may_have_weights_of_32_bits():
    chosen = quantizers("LSQ", lambda bits: identity(), lambda bits: QUANTIZERS["lsq"](bits, ranges="minmax"), 32, 4)
    assert refused(trained(NETWORKS["resnet"](5, chosen), SHAPE)) == (
        "layer stem/conv has weights of 32 bits; only the classifier may have such"
    )
