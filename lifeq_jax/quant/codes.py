"""The quantized weights of a whole network: quantizers by the names of the kernels they act on."""

from collections.abc import Callable, Mapping

import jax

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Codes, Quantizer

LEARNED = "quantizer"  # key of a quantizer's learned state, in the same layer as the kernel

KernelQuantizers = Mapping[str, Quantizer]  # leaf name of a kernel in the parameters -> its quantizer, below 32 bits


def learned_of(params: PyTree, kernel: str) -> PyTree:
    """The learned state of the quantizer of one kernel; {} where it has none."""
    layer = params
    for key in kernel.split("/")[:-1]:
        layer = layer[key]
    return layer.get(LEARNED, {})


def is_learned(name: str) -> bool:
    """Whether a leaf of the parameters is the learned state of a quantizer."""
    return f"/{LEARNED}/" in f"/{name}"


def replace_kernels(table: KernelQuantizers, params: PyTree, function: Callable) -> PyTree:
    """`params` with every kernel of `table` replaced by function(kernel name, quantizer, learned state, kernel)."""

    def replaced(name: str, leaf: jax.Array) -> jax.Array:
        return function(name, table[name], learned_of(params, name), leaf) if name in table else leaf

    return map_named(replaced, params)


def quantize_kernels(table: KernelQuantizers, params: PyTree) -> PyTree:
    """`params` with every kernel of `table` replaced by its quantized value; gradients are those of the quantizer."""
    return replace_kernels(table, params, lambda name, quantizer, learned, leaf: quantizer.apply(learned, leaf))


def kernel_codes(table: KernelQuantizers, params: PyTree) -> dict[str, Codes]:
    """The integers of every kernel of `table`, by kernel name."""
    leaves = named_leaves(params)
    found = {}
    for name, quantizer in table.items():
        assert quantizer.codes is not None  # `KernelQuantizers` holds none of 32 bits
        found[name] = quantizer.codes(learned_of(params, name), leaves[name])
    return found


def relax(table: KernelQuantizers, params: PyTree) -> dict[str, jax.Array]:
    """Every kernel of `table` as it enters the rounding, limited to the grid's range, by kernel name."""
    leaves = named_leaves(params)
    return {name: quantizer.relax(learned_of(params, name), leaves[name]) for name, quantizer in table.items()}


def mask(table: KernelQuantizers, params: PyTree) -> PyTree:
    """A tree like `params` of Python bools: True where a quantizer of `table` acts on the leaf."""
    return map_named(lambda name, _: name in table, params)
