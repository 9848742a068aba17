"""Whole tiny trainings of the original program, repeated: LSQ alone, with dampening, with freezing.

TinyNet: convolution (8 bits, on the image itself), depthwise and 1x1 convolution (both of few bits, as are their
inputs), mean over the image, linear layer (8 bits). SGD for the weights, Adam for the scales.

A rounding that falls the other way moves all that follows. So the steps are taken in float64, and each begins from what
the original recorded of the step before: the scales of every step, the other parameters of some."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.losses.classify import cross_entropy_of_labels
from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.oscillation import dampen, freeze, none
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS, codes
from tests import vectors
from tests.methods.trainer import start
from tests.torch_layout import to_array, to_image, under

LSQ = QUANTIZERS["lsq"]
UNITS = ("stem", "dw", "pw")
NEAR = 2e-6  # of a tie, as a share of the value: the original's float32 may round either way
LAST = {"weight": "kernel", "gamma": "gamma", "beta": "beta", "bias": "bias"}


class Trace:
    """One recorded training: its arrays, its manifest, and our method and optimizer for it."""

    def __init__(self, name):
        self.arrays, self.facts = vectors.arrays(name), vectors.scalars(name)
        few = self.facts["n_bits"]
        self.bits = {"stem": 8, "dw": few, "pw": few, "fc": 8}
        self.table = {f"{layer}/kernel": LSQ(bits) for layer, bits in self.bits.items()}
        signed = vectors.cases(name)["groups"]["act_signed"]
        self.input_low = {layer: -(2.0 ** (self.bits[layer] - 1)) * signed[layer] for layer in signed}
        self.steps = self.facts["steps"]
        self.method = self._method()
        self.optimizer = method_chain(
            self.method.gradients,
            sgd_by_progress(constant(self.facts["lr"]), self.facts["momentum"], self.facts["weight_decay"]),
            adam_by_progress(constant(self.facts["quant_lr"])),
            self.method.constraint,
        )

    def _method(self):
        if self.facts["dampen"]:
            first, last = self.facts["dampen"]
            return dampen(self.table, strength=last, strength_start=first)
        if self.facts["freeze"]:
            args = self.facts["freeze"]
            return freeze(self.table, args["threshold"], args["final"], 0.25, args["momentum"], args["use_ema"])
        return none(self.table)

    def params(self, prefix):
        """Our parameters with the weights recorded under `prefix` and the scales before the first step."""
        params = {}
        for layer, bits in self.bits.items():
            found = under(self.arrays, f"{prefix}_{layer}.")
            params[layer] = {LAST[part]: to_array(found[part]) for part in LAST if part in found}
            params[layer]["quantizer"] = {"low": jnp.float32(-(2.0 ** (bits - 1)))}
            if layer in self.input_low:
                params[layer]["act"] = {"quantizer": {"low": jnp.float32(self.input_low[layer])}}
        first = [self.arrays[f"init_{column}"].item() for column in self.facts["delta_columns"]]
        return vectors.double(self.with_scales(params, first))

    def with_scales(self, params, values):
        """params with the scales `values`, in the order of the manifest's columns."""
        params = {layer: dict(leaves) for layer, leaves in params.items()}
        for column, value in zip(self.facts["delta_columns"], values, strict=True):
            layer, kind = column.split(".")[:2]
            key = "quantizer" if kind == "weight_quantizer" else "act"
            scale = {"scale": np.float64(value)}
            old = params[layer][key]
            params[layer][key] = old | scale if key == "quantizer" else {"quantizer": old["quantizer"] | scale}
        return params

    def scales(self, params):
        """The scales of params, in the order of the manifest's columns."""
        of = {"weight_quantizer": lambda p: p["quantizer"], "activation_quantizer": lambda p: p["act"]["quantizer"]}
        columns = [column.split(".")[:2] for column in self.facts["delta_columns"]]
        return [float(of[kind](params[layer])["scale"]) for layer, kind in columns]

    def batch(self, i):
        """Images and labels of step `i`."""
        i %= len(self.arrays["x"])
        return vectors.double(to_image(self.arrays["x"][i])), self.arrays["y"][i]

    def forward(self, params, weights, image):
        """(logits in training mode, how near to a tie a rounded activation comes); quantized kernels in `weights`."""
        kernels = [(params[layer]["kernel"], params[layer]["quantizer"]["scale"]) for layer in self.bits]
        x, margins = image, [distance_to_tie(kernel / scale) for kernel, scale in kernels]

        def quantize_input(layer, x):
            if layer not in self.input_low:
                return x
            learned = params[layer]["act"]["quantizer"]
            margins.append(distance_to_tie(x / learned["scale"]))
            return LSQ(self.bits[layer]).apply(learned, x)

        for layer in UNITS:
            x = jax.lax.conv_general_dilated(
                quantize_input(layer, x),
                weights[layer]["kernel"],
                (1, 1),
                "VALID" if layer == "pw" else "SAME",
                feature_group_count=x.shape[-1] if layer == "dw" else 1,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x = normalize(params[layer], x)
            x = x if layer == "pw" else relu6(x)
        x = quantize_input("fc", jnp.mean(x, (1, 2)))
        return x @ weights["fc"]["kernel"] + params["fc"]["bias"].reshape(1, -1), jnp.min(jnp.stack(margins))

    def step(self, params, state, opt_state, image, label, progress):
        """(loss, new parameters, new method state, new optimizer state, how near to a tie a rounding was)."""

        def objective(params):
            weights = codes.quantize_kernels(self.table, params)
            logits, margin = self.forward(params, weights, image)
            loss = jnp.mean(cross_entropy_of_labels(logits, label))
            return loss + self.method.penalty(state, params, weights), margin

        (loss, margin), grads = jax.value_and_grad(objective, has_aux=True)(params)
        quantized = codes.mask(self.table, params)
        updates, opt_state = self.optimizer.update(
            grads, opt_state, params, progress=progress, method_state=state, quantized=quantized
        )
        new = optax.apply_updates(params, updates)
        return loss, new, self.method.observe(state, StepInfo(params, new, grads, progress)), opt_state, margin


def distance_to_tie(x):
    """How far the nearest entry of x is from a half, as a share of its own size."""
    return jnp.min(jnp.abs(jnp.abs(x - jnp.floor(x)) - 0.5) / jnp.maximum(jnp.abs(x), 1.0))


def relu6(x):
    # gradient 0 at 0 and at 6, as torch has it
    return jnp.where((x > 0) & (x < 6), x, jnp.where(x < 6, 0.0, 6.0))


def normalize(layer, x):
    shape = (1, 1, 1, -1)
    mean, variance = jnp.mean(x, (0, 1, 2), keepdims=True), jnp.var(x, (0, 1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["gamma"].reshape(shape) + layer["beta"].reshape(shape)


def replace_free(params, recorded, tracks):
    """params with the entries of `recorded`; frozen weights, which stand on their codes in ours only, are kept."""
    frozen = {name.removesuffix("/kernel"): track.frozen for name, track in tracks.items()}
    kernels = {
        layer: jnp.where(frozen.get(layer, False), params[layer]["kernel"], recorded[layer]["kernel"])
        for layer in params
    }
    return {layer: recorded[layer] | {"kernel": kernel} for layer, kernel in kernels.items()}


def weights(params):
    return {
        layer: {k: v for k, v in leaves.items() if k not in ("quantizer", "act")} for layer, leaves in params.items()
    }


def assert_step(trace, i, loss, params, recorded, state):
    """Step `i` is the recorded one; `state` is the method's during the step."""
    np.testing.assert_allclose(loss, trace.arrays["loss"][i], rtol=1e-5)
    np.testing.assert_allclose(trace.scales(params), trace.arrays["deltas"][i], atol=2e-7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), weights(params), weights(recorded))
    if "total_osc" in trace.arrays:
        tracks = state.tracks.values()
        assert [jnp.sum(track.total) for track in tracks] == list(trace.arrays["total_osc"][i])
        assert [jnp.sum(track.frozen) for track in tracks] == list(trace.arrays["frozen_count"][i])


@pytest.mark.parametrize("name", vectors.names("osc_qat_tiny_*"))
def test_every_step_is_the_originals(name):
    trace = Trace(name)
    with jax.enable_x64(True):
        params = trace.params("init")
        # The original counts the step being taken, we count the steps done.
        state = vectors.double(trace.method.init(start(params))._replace(progress=np.float64(1 / trace.steps)))
        opt_state, step = trace.optimizer.init(params), jax.jit(trace.step)
        for i in range(trace.steps):
            now, progress = state, np.float64((i + 2) / trace.steps)
            loss, params, state, opt_state, margin = step(params, now, opt_state, *trace.batch(i), progress)
            has_weights = f"s{i}_fc.bias" in trace.arrays
            recorded = replace_free(params, trace.params(f"s{i}"), state.tracks) if has_weights else params
            try:
                assert_step(trace, i, loss, params, recorded, now)
            except AssertionError:
                assert margin < NEAR and i > 4, f"step {i} is another, and no rounding was near a tie"
                return
            params = trace.with_scales(recorded, trace.arrays["deltas"][i])
    for kernel, track in now.tracks.items() if "total_osc" in trace.arrays else ():
        original = f"{kernel.removesuffix('/kernel')}.weight_quantizer"
        frozen = to_array(trace.arrays[f"final_frozen_{original}"]) > 0
        np.testing.assert_array_equal(track.frozen, frozen)
        np.testing.assert_array_equal(
            track.held[frozen], to_array(trace.arrays[f"final_frozen_x_int_{original}"])[frozen]
        )
