"""Layers that quantize, and the table that says which parameters they act on."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.core.tree import map_named
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Quantizer

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch's default of a linear layer: +-1/sqrt(fan_in)
linear_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class QuantConv(nn.Conv):
    """flax's Conv, NHWC with a kernel HWIO, whose kernel passes through `weight` before it meets the input.

    The parameter itself stays float: it is the latent weight that the optimizer moves."""

    weight: Quantizer = field(kw_only=True)

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """flax's param, with the kernel quantized on its way out."""
        value = super().param(name, *args, **kwargs)
        return self.weight.apply({}, value) if name == "kernel" else value


def conv(features: int, size: int, weight: Quantizer, *, stride: int = 1, groups: int = 1) -> QuantConv:
    """A size x size convolution without bias, padded by size // 2 on every side whatever the stride, as in torch."""
    return QuantConv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=he_normal,
        weight=weight,
    )


def head(num_classes: int) -> nn.Dense:
    """The classifier, float at every bit-width, as in the originals."""
    return nn.Dense(num_classes, kernel_init=linear_uniform)


class QuantAct(nn.Module):
    """An activation quantizer as a layer, any shape; without parameters."""

    quantizer: Quantizer

    def __call__(self, x: jax.Array) -> jax.Array:
        """x quantized, in its own shape and type."""
        return self.quantizer.apply({}, x)


def quantizer_table(model: nn.Module, variables: PyTree, image_shape: tuple[int, int, int]) -> dict[str, Quantizer]:
    """Which kernels `model` quantizes below 32 bits, and by what: {leaf name in params: quantizer}.

    Nothing is computed: `variables` are the model's collections, arrays or their shapes; image_shape is (H, W, C)."""
    table: dict[str, Quantizer] = {}

    def record(next_method: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        layer = context.module
        if isinstance(layer, QuantConv) and context.method_name == "__call__" and layer.weight.bits < 32:
            table["/".join((*layer.path, "kernel"))] = layer.weight
        return next_method(*args, **kwargs)

    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(lambda collections, x: model.apply(collections, x, train=False), variables, image)
    return table


def quantize_params(table: Mapping[str, Quantizer], params: PyTree) -> PyTree:
    """`params` with every kernel named in `table` replaced by its quantized value; gradients pass as in the layer."""
    return map_named(lambda name, leaf: table[name].apply({}, leaf) if name in table else leaf, params)


def quantized_mask(table: Mapping[str, Quantizer], params: PyTree) -> PyTree:
    """A tree like `params` of Python bools: True where a quantizer of `table` acts on the leaf."""
    return map_named(lambda name, _: name in table, params)
