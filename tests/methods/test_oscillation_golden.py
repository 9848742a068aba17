"""Whole tiny trainings of the original program, repeated: LSQ alone, with dampening, with freezing.

TinyNet: convolution 3 -> 4 (8 bits, on the image itself), depthwise, 1x1 convolution 4 -> 8 (both 3 bits, as are their
inputs), mean over the image, linear layer (8 bits). SGD for the weights, Adam for the scales, 40 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.losses.classify import cross_entropy
from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.oscillation import dampen, freeze, none
from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS, codes
from tests.torch_layout import to_array, to_image

LSQ = QUANTIZERS["lsq"]
STEPS, RATE = 40, 0.05
UNITS = ("stem", "dw", "pw")
BITS = {"stem": 8, "dw": 3, "pw": 3, "fc": 8}
TABLE = {f"{name}/kernel": LSQ(bits) for name, bits in BITS.items()}
INPUT_LOW = {"dw": 0.0, "pw": 0.0, "fc": -128.0}  # unsigned after the relus
COLUMNS = ("stem.weight", "dw.activation", "dw.weight", "pw.activation", "pw.weight", "fc.activation", "fc.weight")
TRACES = {
    "base": none(TABLE),
    "damp": dampen(TABLE, strength=1.0),
    "freeze": freeze(TABLE, threshold=0.08, threshold_end=0.04, momentum=0.05),
}


def layer_of(arrays, name):
    """Weights, scales and batch norm of one layer, as recorded before the first step."""

    def scale(kind):
        return jnp.float32(arrays[f"init_{name}.{kind}_quantizer.quantizer._delta"].item())

    low = jnp.float32(-(2.0 ** (BITS[name] - 1)))
    layer = {
        "kernel": to_array(arrays[f"init_{name}.weight"]),
        "quantizer": {"scale": scale("weight"), "low": low},
        **{part: jnp.asarray(arrays[f"init_{name}.{part}"]) for part in leaves_of(name)[1:]},
    }
    if name in INPUT_LOW:
        layer["act"] = {"quantizer": {"scale": scale("activation"), "low": jnp.float32(INPUT_LOW[name])}}
    return layer


def leaves_of(name):
    return ("weight", "bias") if name == "fc" else ("weight", "gamma", "beta")


def relu6(x):
    # gradient 0 at 0 and at 6, as torch has it
    return jnp.where((x > 0) & (x < 6), x, jnp.where(x < 6, 0.0, 6.0))


def normalize(layer, x):
    shape = (1, 1, 1, -1)
    mean, variance = jnp.mean(x, (0, 1, 2), keepdims=True), jnp.var(x, (0, 1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["gamma"].reshape(shape) + layer["beta"].reshape(shape)


def quantize_input(params, name, x):
    return LSQ(BITS[name]).apply(params[name]["act"]["quantizer"], x) if name in INPUT_LOW else x


def forward(params, weights, image):
    """Logits in training mode; `weights` are the parameters with quantized kernels."""
    x = image
    for name in UNITS:
        x = jax.lax.conv_general_dilated(
            quantize_input(params, name, x),
            weights[name]["kernel"],
            (1, 1),
            "VALID" if name == "pw" else "SAME",
            feature_group_count=4 if name == "dw" else 1,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = normalize(params[name], x)
        x = x if name == "pw" else relu6(x)
    x = quantize_input(params, "fc", jnp.mean(x, (1, 2)))
    return x @ weights["fc"]["kernel"] + params["fc"]["bias"].reshape(1, -1)


def objective(method, state, params, image, label):
    weights = codes.quantize(TABLE, params)
    loss = jnp.mean(cross_entropy(forward(params, weights, image), label))
    return loss + method.penalty(state, params, weights)


def batch_of(arrays, i):
    return to_image(arrays["x"][i % 4]), jnp.asarray(arrays["y"][i % 4])


def train(arrays, method):
    """Yields (loss, parameters after the step, method state during it) of every step."""
    optimizer = chain(method.gradients, sgd(constant(RATE), 0.9, 2.5e-3), adam(constant(1e-3)), method.constraint)
    params = {name: layer_of(arrays, name) for name in BITS}
    # The original counts the step being taken, we count the steps done.
    state, opt_state = method.init(params)._replace(progress=jnp.float32(1 / STEPS)), optimizer.init(params)

    @jax.jit
    def step(params, state, opt_state, image, label, progress):
        loss, grads = jax.value_and_grad(lambda p: objective(method, state, p, image, label))(params)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, progress=progress, method_state=state, quantized=codes.mask(TABLE, params)
        )
        new = optax.apply_updates(params, updates)
        return loss, new, method.observe(state, StepInfo(params, new, grads, progress)), opt_state

    for i in range(STEPS):
        now = state
        loss, params, state, opt_state = step(
            params, now, opt_state, *batch_of(arrays, i), jnp.float32((i + 2) / STEPS)
        )
        yield float(loss), params, now


def scales(params):
    places = {"weight": lambda layer: layer, "activation": lambda layer: layer["act"]}
    return [float(places[kind](params[name])["quantizer"]["scale"]) for name, kind in (c.split(".") for c in COLUMNS)]


def recorded(arrays, i):
    """Our parameters tree with the weights and scales recorded after step i."""
    state = {name: f"s{i}_{name}" for name in BITS}
    params = {name: layer_of(arrays, name) for name in BITS}
    for name, prefix in state.items():
        params[name]["kernel"] = to_array(arrays[f"{prefix}.weight"])
        params[name] |= {part: jnp.asarray(arrays[f"{prefix}.{part}"]) for part in leaves_of(name)[1:]}
    for column, value in zip(COLUMNS, arrays["deltas"][i], strict=True):
        name, kind = column.split(".")
        layer = params[name] if kind == "weight" else params[name]["act"]
        layer["quantizer"] = {**layer["quantizer"], "scale": jnp.float32(value)}
    return params


@pytest.mark.parametrize("name", sorted(TRACES))
@pytest.mark.parametrize("i", [0, 1, 2, 4, 9])
def test_loss_at_recorded_parameters(golden, name, i):
    arrays, method = golden(f"osc_qat_tiny_{name}"), TRACES[name]
    params = recorded(arrays, i)
    state = method.init(params)._replace(progress=jnp.float32((i + 2) / STEPS))
    np.testing.assert_allclose(
        objective(method, state, params, *batch_of(arrays, i + 1)), arrays["loss"][i + 1], rtol=1e-5
    )


# A rounding that falls the other way moves all that follows. These are the steps before the first one, however the
# compiler orders its sums.
@pytest.mark.parametrize(("name", "steps"), [("base", 6), ("damp", 9), ("freeze", 3)])
def test_first_steps_are_the_originals(golden, name, steps):
    arrays = golden(f"osc_qat_tiny_{name}")
    for i, (loss, params, _) in zip(range(steps), train(arrays, TRACES[name]), strict=False):
        np.testing.assert_allclose(loss, arrays["loss"][i], rtol=1e-4)
        if i < 2:  # a fiftieth of the distance that Adam moves a scale in one step
            np.testing.assert_allclose(scales(params), arrays["deltas"][i], atol=2e-5)
        if f"s{i}_fc.bias" in arrays:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                {layer: {**params[layer], "act": (), "quantizer": ()} for layer in BITS},
                {layer: {**recorded(arrays, i)[layer], "act": (), "quantizer": ()} for layer in BITS},
            )


def spread(params, name):
    """Standard deviation of the distances of one kernel's weights from their grid points, in steps."""
    learned, kernel, quantizer = params[name]["quantizer"], params[name]["kernel"], LSQ(BITS[name])
    return float(jnp.std(quantizer.relax(learned, kernel) / learned["scale"] - quantizer.codes(learned, kernel).values))


@pytest.mark.parametrize("name", sorted(TRACES))
def test_whole_trace_by_trend(golden, name):
    """The loss falls alike, dampening draws the coarse weights to their grid alike, and as many weights freeze."""
    arrays = golden(f"osc_qat_tiny_{name}")
    steps = list(train(arrays, TRACES[name]))
    assert np.mean(np.abs([loss for loss, _, _ in steps] - arrays["loss"])) < 0.05
    _, params, state = steps[-1]
    theirs = recorded(arrays, STEPS - 1)
    if name == "damp":
        for layer in ("dw", "pw"):  # 0.29 = 1 / sqrt(12) when nothing draws
            assert spread(params, layer) < 0.24
            assert spread(theirs, layer) < 0.24
    if name == "freeze":
        frozen = [int(jnp.sum(state.tracks[f"{layer}/kernel"].frozen)) for layer in ("dw", "pw")]
        total = [int(jnp.sum(state.tracks[f"{layer}/kernel"].total)) for layer in ("dw", "pw")]
        np.testing.assert_allclose(frozen, arrays["frozen_count"][-1], atol=1)
        np.testing.assert_allclose(total, arrays["total_osc"][-1], atol=2)
        assert sum(frozen) > 0
