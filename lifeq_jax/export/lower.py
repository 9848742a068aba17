"""Lowers a traced model to a program of integers.

Values of the graph are first symbolic real numbers, a function of slope * integers + offset. They become integers where
a layer needs them: the codes of a quantizer, by thresholds (`quantized`); otherwise multiples of a power of two, with
30 bits at the largest value that any image can give, or at FAR standard deviations of a norm. This is finer than
float32 for the values that occur."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.export.builder import Base, Builder, Value, held
from lifeq_jax.export.function import NAMES, Function, limited
from lifeq_jax.export.graph import Graph, Node, geometry, sub_tree, trace_graph
from lifeq_jax.export.grid import weight_of
from lifeq_jax.export.materialize import fixed_exponent, interval_of, on_fixed, on_grid, to_integers
from lifeq_jax.export.program import IMAGE, Integers, Program, sums
from lifeq_jax.export.quantized import Staged, quantize
from lifeq_jax.quant.codes import LEARNED

FAR = 256  # standard deviations of a norm beyond which its output is limited, where no quantizer limits it


class Pixels(NamedTuple):
    """How pixels 0..255 become what the network sees: (pixel / 255 - mean) / std, per channel or per task and channel.

    numbers: their values as the network computes them, float32 (T, C, 256)."""

    shape: tuple[int, int, int]
    numbers: np.ndarray


class Lowered(NamedTuple):
    """A program, with data that is not part of it."""

    program: Program
    staged: tuple[Staged, ...]  # activation quantizers in the order of their calls


def lower(model: nn.Module, params: PyTree, batch_stats: PyTree, pixels: Pixels) -> Lowered:
    """The program of a model in evaluation. Refuses, by layer, what has no form in integers."""
    graph = trace_graph(model, params, batch_stats, pixels.shape)
    lowering = _Lowering(graph, params, batch_stats)
    lowering.run(pixels)
    return Lowered(lowering.builder.program(), tuple(lowering.staged))


class _Lowering:
    def __init__(self, graph: Graph, params: PyTree, batch_stats: PyTree):
        self.graph, self.params, self.batch_stats = graph, params, batch_stats
        self.builder = Builder()
        self.known: dict[int, Value | None] = {}  # None: logits, written
        self.staged: list[Staged] = []

    def run(self, pixels: Pixels) -> None:
        self.builder.layer = "image"
        self.known[self.graph.input] = self._image(pixels)
        for node in self.graph.nodes:
            self.builder.layer = node.where
            handler: Callable[[Node], Value | None] | None = getattr(self, f"_{node.kind}", None)
            if handler is None and node.kind not in NAMES:
                raise Refusal(f"{node.kind} in {node.where or 'the model'} has no form in integers")
            self.known[node.output] = (handler or self._elementwise)(node)
        self._logits(self.known[self.graph.output])

    def _image(self, pixels: Pixels) -> Value:
        exponent = fixed_exponent(float(np.abs(pixels.numbers).max()))
        table = np.round(pixels.numbers.astype(np.float64) * 2.0**exponent).astype(np.int32)
        image = Integers(IMAGE, pixels.shape, 0, 255)
        found = self.builder.emit("pixels", (image,), pixels.shape, table.min(), table.max(), tensors={"table": table})
        return held(found, 2.0**-exponent)

    def _value(self, item: Any, node: Node) -> Value:
        found = self.known[item]
        if found is None:
            raise Refusal(f"{node.kind} in {node.where or 'the model'} comes after a layer of 32 bits; only logits may")
        return found

    # layers

    def _conv(self, node: Node) -> Value:
        module, x = node.module, self._value(node.inputs[0], node)
        if module.weight.bits == 32:
            raise Refusal(f"layer {node.where} has weights of 32 bits; only the classifier may have such")
        (strides, padding), groups = geometry(module, self._shape(node.inputs[0])[:2]), module.feature_group_count
        padded = any(side for sides in padding for side in sides)
        geometry_ = dict(strides=list(strides), padding=[list(sides) for sides in padding], groups=groups)
        return self._product("conv", node, x, padded, **geometry_)

    def _dense(self, node: Node) -> Value | None:
        if len(self._shape(node.inputs[0])) != 1:
            raise Refusal(f"layer {node.where} is linear on more axes than one; reshape its input to (batch, features)")
        if node.module.weight.bits == 32:
            self._float_dense(node)
            return None
        return self._product("dense", node, self._value(node.inputs[0], node), False)

    def _float_dense(self, node: Node) -> None:
        x, step = to_integers(self.builder, self._value(node.inputs[0], node))
        own = sub_tree(self.params, node.where)
        kernel = np.asarray(own["kernel"], np.float32)
        tensors = {"kernel": kernel, "bias": np.asarray(own.get("bias", np.zeros(kernel.shape[1])), np.float32)}
        self.builder.emit("dense_float", (x,), (kernel.shape[1],), 0, 0, tensors=tensors, step=step)

    def _product(self, kind: str, node: Node, value: Value, padded: bool, **arguments: Any) -> Value:
        x, step = to_integers(self.builder, value)
        own, module = sub_tree(self.params, node.where), node.module
        weight, weight_step = weight_of(module.weight.codes(own.get(LEARNED, {}), own["kernel"]), module.weight.bits)
        name = f"{node.where}/codes"
        self.builder.weights[name] = weight
        low, high = sums(weight, *((min(x.low, 0), max(x.high, 0)) if padded else (x.low, x.high)))
        shape = self.graph.shapes[node.output][1:]
        found = self.builder.emit(kind, (x,), shape, low.min(), high.max(), weight=name, **arguments)
        slope = np.asarray(step * weight_step)
        bias = np.asarray(own["bias"], np.float32) if "bias" in own else None
        single = slope.astype(np.float32)

        def formula(x: np.ndarray) -> np.ndarray:
            y = x.astype(np.float32) * single
            return y if bias is None else y + bias

        offset = np.zeros(()) if bias is None else bias.astype(np.float64)
        return Value(Base(found, slope, offset, formula, low, high))

    def _norm(self, node: Node) -> Value:
        value = self._value(node.inputs[0], node)
        if value.function is not None:
            value = held(*to_integers(self.builder, value))
        base, module = value.base, node.module
        own, statistics = sub_tree(self.params, node.where), sub_tree(self.batch_stats, node.where)
        mean, variance = (np.asarray(statistics[name], np.float32) for name in ("mean", "var"))
        factor = np.asarray(jax.lax.rsqrt(jnp.asarray(variance) + module.epsilon))
        exact = 1 / np.sqrt(variance.astype(np.float64) + np.float64(np.float32(module.epsilon)))
        scale, bias = (
            (np.asarray(own["scale"], np.float32), np.asarray(own["bias"], np.float32))
            if module.affine
            else (None, None)
        )
        if scale is not None:
            factor, exact = scale * factor, scale.astype(np.float64) * exact

        def formula(x: np.ndarray) -> np.ndarray:
            y = (base.formula(x) - mean) * factor
            return y if bias is None else y + bias

        shift = 0 if bias is None else bias.astype(np.float64)
        offset = (base.offset - mean.astype(np.float64)) * exact + shift
        far = FAR * np.abs(np.ones_like(exact) if scale is None else scale.astype(np.float64))
        limits = float(np.min(shift - far)), float(np.max(shift + far))
        return Value(Base(base.integers, base.slope * exact, offset, formula, base.low, base.high, limits))

    def _act(self, node: Node) -> Value:
        learned = sub_tree(self.params, node.where).get(LEARNED, {})
        rank = len(self.graph.shapes[node.inputs[0]])
        staged = quantize(self.builder, self._value(node.inputs[0], node), node.module.quantizer, learned, rank)
        self.staged.append(staged)
        return staged.value

    # what stands between layers

    def _elementwise(self, node: Node) -> Value:
        if any(isinstance(item, np.ndarray) and item.shape != () for item in node.inputs):
            raise Refusal(f"{node.kind} in {node.where or 'the model'} takes a constant with a value for each place")
        values = [self._value(item, node) for item in node.inputs if not isinstance(item, np.ndarray)]
        base = values[0].base
        if all(value.base is base for value in values):
            places = iter(values)
            inputs = tuple(item if isinstance(item, np.ndarray) else next(places).function for item in node.inputs)
            return Value(base, Function(node.kind, node.primitive, node.params, inputs))
        if node.kind == "add":
            return self._sum_of(*values)
        if node.kind == "mul":
            return self._product_of(*values)
        raise Refusal(f"{node.kind} of two tensors in {node.where or 'the model'} has no form in integers")

    def _sum_of(self, left: Value, right: Value) -> Value:
        left, right = (
            value if limited(value.function) else held(*to_integers(self.builder, value)) for value in (left, right)
        )
        own, other = on_grid(self.builder, left), on_grid(self.builder, right)
        if own is not None and other is not None and own[1] == other[1]:
            (x, step), (y, _) = own, other
        else:
            steps = [math.log2(item[1]) for item in (own, other) if item is not None]
            largest = sum(max(map(abs, interval_of(value))) for value in (left, right))
            exponent = min([fixed_exponent(largest), *(-int(step) for step in steps if step.is_integer())])
            (x, step), (y, _) = (on_fixed(self.builder, value, exponent) for value in (left, right))
        return held(self.builder.emit("add", (x, y), x.shape, x.low + y.low, x.high + y.high), step)

    def _product_of(self, left: Value, right: Value) -> Value:
        (x, step), (y, other) = (to_integers(self.builder, value) for value in (left, right))
        if math.prod(y.shape) > math.prod(x.shape):
            (x, step), (y, other) = (y, other), (x, step)
        ends = [a * b for a in (x.low, x.high) for b in (y.low, y.high)]
        return held(self.builder.emit("multiply", (x, y), x.shape, min(ends), max(ends)), step * other)

    def _reduce_sum(self, node: Node) -> Value:
        shape, axes = self._shape(node.inputs[0]), tuple(node.params["axes"])
        if len(shape) != 3 or axes != (1, 2):
            raise Refusal(f"a sum over axes {axes} in {node.where or 'the model'} has no form in integers")
        x, step = to_integers(self.builder, self._value(node.inputs[0], node))
        pixels = shape[0] * shape[1]
        return held(self.builder.emit("sum", (x,), shape[2:], x.low * pixels, x.high * pixels), step)

    def _reduce_window_max(self, node: Node) -> Value:
        params = node.params
        window, strides, padding = (params[name] for name in ("window_dimensions", "window_strides", "padding"))
        plain = all(each == 1 for name in ("base_dilation", "window_dilation") for each in params[name])
        if len(window) != 4 or (window[0], window[3]) != (1, 1) or not plain:
            raise Refusal(f"max pooling over {window} in {node.where or 'the model'} has no form in integers")
        x, step = to_integers(self.builder, self._value(node.inputs[0], node))
        sides = [list(map(int, side)) for side in padding[1:3]]
        arguments: dict[str, Any] = dict(window=list(window[1:3]), strides=list(strides[1:3]), padding=sides)
        shape = self.graph.shapes[node.output][1:]
        return held(self.builder.emit("max_pool", (x,), shape, x.low, x.high, **arguments), step)

    def _reshape(self, node: Node) -> Value:
        return self._moved(node, "reshape")

    _squeeze = _reshape

    def _broadcast_in_dim(self, node: Node) -> Value:
        before, after = (self.graph.shapes[value] for value in (node.inputs[0], node.output))
        if math.prod(before) != math.prod(after):
            raise Refusal(f"{node.where or 'the model'} repeats {before} to {after}; multiply by it as it is")
        return self._moved(node, "reshape")

    def _slice(self, node: Node) -> Value:
        start, limit = (list(map(int, node.params[name][1:])) for name in ("start_indices", "limit_indices"))
        strides = [1] * len(start) if node.params["strides"] is None else list(map(int, node.params["strides"][1:]))
        return self._moved(node, "slice", start=start, limit=limit, strides=strides)

    def _moved(self, node: Node, kind: str, **arguments: Any) -> Value:
        """An op that moves values; a slope of every channel stays where the channels stay."""
        value, before, after = (
            self._value(node.inputs[0], node),
            self._shape(node.inputs[0]),
            self.graph.shapes[node.output][1:],
        )
        if self.graph.shapes[node.output][0] != self.graph.shapes[node.inputs[0]][0]:
            raise Refusal(f"{node.kind} in {node.where or 'the model'} mixes the images of a batch")
        base = value.base
        if max(base.slope.size, base.offset.size, base.low.size) > 1 and before[-1] != after[-1]:
            value = held(*to_integers(self.builder, value))
            base = value.base
        found = self.builder.emit(kind, (base.integers,), after, base.integers.low, base.integers.high, **arguments)
        return Value(replace(base, integers=found), value.function)

    def _shape(self, item: Any) -> tuple[int, ...]:
        return self.graph.shapes[item][1:]

    def _logits(self, value: Value | None) -> None:
        if value is None:
            return
        self.builder.layer = "logits"
        if value.function is not None or len(value.base.integers.shape) != 1:
            value = held(*to_integers(self.builder, value))
        base = value.base
        tensors = {
            name: np.atleast_1d(array).astype(np.float32)
            for name, array in (("step", base.slope), ("bias", base.offset))
        }
        self.builder.emit("dequantize", (base.integers,), base.integers.shape, 0, 0, tensors=tensors)
