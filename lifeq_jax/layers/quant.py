"""Layers that quantize, the table of what they quantize, and the calibration pass of their ranges."""

from dataclasses import field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.convolution import convolution
from lifeq_jax.layers.depthwise import depthwise
from lifeq_jax.layers.initial import HE_NORMAL, ZEROS, Initializer, stated
from lifeq_jax.layers.precision import in_bfloat16
from lifeq_jax.quant.base import Quantizer
from lifeq_jax.quant.codes import LEARNED, KernelQuantizers


def quantized(module: nn.Module, quantizer: Quantizer, x: jax.Array) -> jax.Array:
    """x through `quantizer`, whose learned state is the parameter "quantizer" of `module`.

    In a calibration pass (collection "ranges" mutable) the state comes from the ranges seen so far instead. In
    training, noisy quantizers draw from the random stream "noise". While parameters are initialized, x passes as is."""
    ranges = quantizer.ranges
    learned: PyTree = {} if ranges is None else module.param(LEARNED, lambda _: quantizer.init(x))
    if module.is_initializing():  # `traced` wants its shape, which is that of x: quantizers would double its time
        return x
    if ranges is not None and module.is_mutable_collection("ranges"):
        if not module.has_variable("learned", LEARNED):  # ConvUnit.pooled calls it again, on a smaller range
            estimate = module.variable("ranges", LEARNED, ranges.start, x)
            estimate.value = ranges.update(estimate.value, x)
            module.put_variable("learned", LEARNED, ranges.learned(estimate.value))
        learned = module.get_variable("learned", LEARNED)
    key = module.make_rng("noise") if quantizer.noisy and module.has_rng("noise") else None
    return quantizer.apply(learned, x, key)


class QuantConv(nn.Conv):
    """flax's Conv, NHWC with a kernel HWIO, whose kernel passes through `weight` before it meets the input.

    The parameter itself stays float: it is the latent weight that the optimizer moves."""

    weight: Quantizer = field(kw_only=True)

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """flax's param, with the kernel quantized on its way out."""
        value = super().param(name, *args, **kwargs)
        return quantized(self, self.weight, value) if name == "kernel" else value


class QuantDense(nn.Dense):
    """flax's Dense, kernel (in, out), whose kernel passes through `weight` before it meets the input."""

    weight: Quantizer = field(kw_only=True)

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """flax's param, with the kernel quantized on its way out."""
        value = super().param(name, *args, **kwargs)
        return quantized(self, self.weight, value) if name == "kernel" else value


class QuantAct(nn.Module):
    """An activation quantizer as a layer, any shape. Each place in a network has its own, with its own state."""

    quantizer: Quantizer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x quantized, in its own shape and type."""
        return quantized(self, self.quantizer, x)


def conv(
    features: int,
    size: int,
    weight: Quantizer,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    padded: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    precision: str = "float32",
) -> QuantConv:
    """A size x size convolution, padded by size // 2 on every side whatever the stride, as in torch, or not at all.

    precision: of the operands, float32 or bfloat16; parameters, quantizers, sums and the result stay float32."""
    product = convolution if groups == 1 else depthwise if groups == features else lax.conv_general_dilated
    return QuantConv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2 if padded else 0,
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=kernel_init,
        bias_init=ZEROS,
        conv_general_dilated=in_bfloat16(product) if precision == "bfloat16" else product,
        weight=weight,
    )


def dense(features: int, weight: Quantizer, *, kernel_init: Initializer, precision: str = "float32") -> QuantDense:
    """A linear layer with a bias; precision as of `conv`."""
    product = in_bfloat16(lax.dot_general) if precision == "bfloat16" else lax.dot_general
    return QuantDense(features, kernel_init=kernel_init, bias_init=ZEROS, dot_general=product, weight=weight)


class LayerBits(NamedTuple):
    """Bits of a layer's weights and of its activation quantizer; None where the layer has none."""

    weight: int | None
    activation: int | None


class Traced(NamedTuple):
    """What one abstract evaluation (shapes only) tells about a model."""

    shapes: PyTree  # its collections, as shapes and types
    weights: dict[str, Quantizer]  # of the layers with a kernel, by path, in the order in which they are first called
    layers: dict[str, LayerBits]  # of all quantizing layers, by path, in the same order
    initial: dict[str, Initializer]  # of the leaves of `shapes`, by name, where one is stated


@lru_cache(maxsize=64)  # networks of a sweep: a trace takes up to a second, what it tells takes little room
def traced(model: nn.Module, image_shape: tuple[int, int, int]) -> Traced:
    """`model` for images (H, W, C); nothing is computed."""
    weights: dict[str, Quantizer] = {}
    layers: dict[str, LayerBits] = {}
    initial: dict[str, Initializer] = {}

    def record(next_method: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        layer, path = context.module, "/".join(context.module.path)
        if context.method_name == "__call__" and isinstance(layer, QuantAct):
            layers.setdefault(path, LayerBits(None, layer.quantizer.bits))
        elif context.method_name == "__call__" and isinstance(layer, QuantConv | QuantDense):
            weights.setdefault(path, layer.weight)
            layers.setdefault(path, LayerBits(layer.weight.bits, None))
        return next_method(*args, **kwargs)

    def init() -> PyTree:
        image = jnp.zeros((1, *image_shape), jnp.float32)
        with nn.intercept_methods(record), stated() as initializers:
            variables = model.init(jax.random.key(0), image, train=False)
        initial.update(initializers(variables))
        return variables

    return Traced(jax.eval_shape(init), weights, layers, initial)


def bit_table(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, LayerBits]:
    """The bits of every quantizing layer of `model` by its path, in the order in which they are first called.

    image_shape is (H, W, C)."""
    return dict(traced(model, image_shape).layers)


def quantizer_table(model: nn.Module, image_shape: tuple[int, int, int]) -> KernelQuantizers:
    """The quantizer of every kernel that `model` quantizes below 32 bits, by leaf name."""
    weights = traced(model, image_shape).weights
    return {f"{path}/kernel": quantizer for path, quantizer in weights.items() if quantizer.bits < 32}


def observe_ranges(model: nn.Module, variables: PyTree, ranges: PyTree, image: jax.Array) -> tuple[PyTree, PyTree]:
    """One batch (B, H, W, C) of the calibration pass: (new ranges, params with the learned state that they give).

    `ranges` is {} at the first batch. As in training, batch norm uses the batch's statistics; every layer's inputs are
    quantized with the ranges found so far."""
    collections = ["ranges", "learned", "batch_stats"]
    _, new = model.apply({**variables, "ranges": ranges}, image, train=True, mutable=collections)
    found = named_leaves(new.get("learned", {}))
    params = map_named(lambda name, leaf: found.get(name, leaf), variables["params"])
    return new.get("ranges", {}), params
