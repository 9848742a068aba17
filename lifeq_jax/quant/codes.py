"""The quantized weights of a whole network: quantizers by the names of the kernels they act on."""

from collections.abc import Callable, Mapping

import jax

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.base import Codes, Quantizer

LEARNED = "quantizer"  # key, beside a layer's kernel, of what its quantizer learns

Table = Mapping[str, Quantizer]  # leaf name of a kernel in the parameters -> its quantizer, below 32 bits


def learned_of(params: PyTree, kernel: str) -> PyTree:
    """The learned state of the quantizer of one kernel; {} where it has none."""
    layer = params
    for key in kernel.split("/")[:-1]:
        layer = layer[key]
    return layer.get(LEARNED, {})


def is_learned(name: str) -> bool:
    """Whether a leaf of the parameters is the learned state of a quantizer."""
    return f"/{LEARNED}/" in f"/{name}"


def replace_kernels(table: Table, params: PyTree, function: Callable) -> PyTree:
    """`params` with every kernel of `table` replaced by function(kernel name, quantizer, learned state, kernel)."""

    def replaced(name: str, leaf: jax.Array) -> jax.Array:
        return function(name, table[name], learned_of(params, name), leaf) if name in table else leaf

    return map_named(replaced, params)


def quantize(table: Table, params: PyTree) -> PyTree:
    """`params` with every kernel of `table` replaced by its quantized value; gradients pass as in the layer."""
    return replace_kernels(table, params, lambda name, quantizer, learned, leaf: quantizer.apply(learned, leaf))


def codes(table: Table, params: PyTree) -> dict[str, Codes]:
    """The integers of every kernel of `table`, by kernel name."""
    leaves = named_leaves(params)
    found = {}
    for name, quantizer in table.items():
        assert quantizer.codes is not None  # `Table` holds none of 32 bits
        found[name] = quantizer.codes(learned_of(params, name), leaves[name])
    return found


def relax(table: Table, params: PyTree) -> dict[str, jax.Array]:
    """Every kernel of `table` as its quantizer rounds it, limited to the grid's range, by kernel name."""
    leaves = named_leaves(params)
    return {name: quantizer.relax(learned_of(params, name), leaves[name]) for name, quantizer in table.items()}


def mask(table: Table, params: PyTree) -> PyTree:
    """A tree like `params` of Python bools: True where a quantizer of `table` acts on the leaf."""
    return map_named(lambda name, _: name in table, params)
