"""The evaluation of a model as a flat list of nodes: quantized layers as single nodes, the rest as JAX primitives."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, QuantConv, QuantDense

BATCH = 2  # images that the trace sees; every value has them as its first axis
INLINED = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "remat")


class Node(NamedTuple):
    """A layer (kind conv, dense, norm or act, with `module` and `path`), or a primitive with its `params`."""

    kind: str
    inputs: tuple[Any, ...]  # numbers of values; NumPy arrays for constants
    output: int
    module: Any = None
    where: str = ""  # path of the layer, or names of the modules that a primitive stands in
    primitive: Any = None
    params: dict[str, Any] = {}


class Graph(NamedTuple):
    """Nodes in the order of their calls; `shapes` of the values include the batch."""

    nodes: tuple[Node, ...]
    input: int
    output: int
    shapes: dict[int, tuple[int, ...]]


_layer = Primitive("lifeq_layer")
_layer.def_abstract_eval(lambda x, *, number, shape: jax.core.ShapedArray(shape, x.dtype))


def trace_graph(model: nn.Module, params: PyTree, batch_stats: PyTree, image_shape: tuple[int, int, int]) -> Graph:
    """The graph of `model.apply(..., train=False)` on images (H, W, C); quantizers of 32 bits are left out.

    Nothing of the layers is computed. Refuses primitives of several results, and dilated or oddly padded layers."""
    layers: list[tuple[str, nn.Module, str]] = []

    def whole(next_method: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        module, kind = context.module, KIND_OF.get(type(context.module))
        if context.method_name != "__call__" or kind is None:
            return next_method(*args, **kwargs)
        if kind == "act" and module.quantizer.bits == 32:
            return args[0]
        layers.append((kind, module, "/".join(module.path)))
        return _layer.bind(args[0], number=len(layers) - 1, shape=_shape_of(kind, module, args[0].shape))

    def forward(image: jax.Array) -> Any:
        with nn.intercept_methods(whole):
            return model.apply({"params": params, "batch_stats": batch_stats}, image, train=False)

    closed = jax.make_jaxpr(forward)(jnp.zeros((BATCH, *image_shape), jnp.float32))
    return _Walk(layers).graph(closed)


KIND_OF = {QuantConv: "conv", QuantDense: "dense", BatchNorm: "norm", QuantAct: "act"}


def _shape_of(kind: str, module: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if kind == "conv":
        strides, padding = geometry(module, shape[1:3])
        sizes = zip(shape[1:3], module.kernel_size, strides, padding, strict=True)
        return (
            shape[0],
            *((size + sum(pad) - taps) // stride + 1 for size, taps, stride, pad in sizes),
            module.features,
        )
    return (*shape[:-1], module.features) if kind == "dense" else shape


Pairs = tuple[tuple[int, int], tuple[int, int]]


def geometry(module: QuantConv, sides: Sequence[int]) -> tuple[tuple[int, int], Pairs]:
    """(strides, padding) of a convolution on images of `sides`. Refuses dilation and circular padding."""
    path = "/".join(module.path)
    for name in ("kernel_dilation", "input_dilation"):
        given = getattr(module, name)
        if np.any(np.asarray(given if given is not None else 1) != 1):
            raise Refusal(f"layer {path} has {name}={given!r}; export knows 1")
    given = 1 if module.strides is None else module.strides
    strides = (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))
    padding: Any = module.padding
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise Refusal(f"layer {path} has padding={padding!r}; export knows SAME, VALID and numbers")
        padding = lax.padtype_to_pads(sides, tuple(module.kernel_size), strides, padding)  # type: ignore[arg-type]
    elif isinstance(padding, int):
        padding = (padding, padding)
    rows, columns = ((each, each) if isinstance(each, int) else (int(each[0]), int(each[1])) for each in padding)
    return strides, (rows, columns)


class _Walk:
    """Converts a jaxpr to nodes, with calls inlined and constant expressions evaluated."""

    def __init__(self, layers: list[tuple[str, nn.Module, str]]):
        self.layers = layers
        self.nodes: list[Node] = []
        self.shapes: dict[int, tuple[int, ...]] = {}

    def graph(self, closed: Any) -> Graph:
        start = self.new(closed.jaxpr.invars[0].aval)
        (end,) = self.run(closed.jaxpr, closed.consts, [start])
        return Graph(_needed(_with_minima(self.nodes), end), start, end, self.shapes)

    def new(self, aval: Any) -> int:
        self.shapes[len(self.shapes)] = tuple(aval.shape)
        return len(self.shapes) - 1

    def run(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        known = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def value(atom: Any) -> Any:
            return np.asarray(atom.val) if hasattr(atom, "val") else known[atom]

        for equation in _used(jaxpr):
            found = self.equation(equation, [value(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, found, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if name in INLINED and inner is not None:
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        if all(isinstance(item, np.ndarray) for item in inputs):
            found = equation.primitive.bind(*inputs, **params)
            return [np.asarray(item) for item in (found if equation.primitive.multiple_results else [found])]
        where = str(equation.source_info.name_stack)
        if equation.primitive.multiple_results:
            raise Refusal(f"{name} in {where or 'the model'} has no form in integers")
        inputs = [_constant(item) if isinstance(item, np.ndarray) else item for item in inputs]
        output = self.new(equation.outvars[0].aval)
        if name == _layer.name:
            kind, module, path = self.layers[params["number"]]
            self.nodes.append(Node(kind, tuple(inputs), output, module, path))
        else:
            self.nodes.append(Node(name, tuple(inputs), output, None, where, equation.primitive, params))
        return [output]


def _used(jaxpr: Any) -> list[Any]:
    """The equations that the outputs need."""
    needed, kept = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}, []
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            kept.append(equation)
            needed |= {atom for atom in equation.invars if not hasattr(atom, "val")}
    return kept[::-1]


def _constant(array: np.ndarray) -> np.ndarray:
    """A scalar where all values are one, as jnp.where spreads them."""
    return np.array(array.reshape(-1)[0]) if array.size and np.all(array == array.reshape(-1)[0]) else array


def _with_minima(nodes: Sequence[Node]) -> list[Node]:
    """relu6 is where(x < 6, max(x, 0), 6): min(max(x, 0), 6), in which x stands once."""
    by_output = {node.output: node for node in nodes}
    return [_minimum(node, by_output) or node for node in nodes]


def _minimum(node: Node, by_output: dict[int, Node]) -> Node | None:
    if node.kind != "select_n":
        return None
    test, otherwise, inside = (by_output.get(item) if isinstance(item, int) else item for item in node.inputs)
    if not isinstance(test, Node) or test.kind != "lt" or not isinstance(test.inputs[1], np.ndarray):
        return None
    if not isinstance(otherwise, np.ndarray) or not np.array_equal(otherwise, test.inputs[1]):
        return None
    x = test.inputs[0]
    is_relu = isinstance(inside, Node) and inside.kind == "max" and inside.inputs[0] == x and otherwise.shape == ()
    if node.inputs[2] != x and not is_relu:
        return None
    return node._replace(kind="min", inputs=(node.inputs[2], otherwise), primitive=lax.min_p, params={})


def _needed(nodes: Sequence[Node], end: int) -> tuple[Node, ...]:
    needed, kept = {end}, []
    for node in reversed(nodes):
        if node.output in needed:
            kept.append(node)
            needed |= {item for item in node.inputs if isinstance(item, int)}
    return tuple(reversed(kept))


def sub_tree(tree: PyTree, path: str) -> PyTree:
    """The part of `tree` that belongs to the layer at `path`; {} where there is none."""
    for key in path.split("/"):
        tree = tree.get(key, {})
    return tree


def count(shape: Sequence[int]) -> int:
    """The number of values of a shape."""
    return math.prod(shape)
