"""Builds an ONNX graph, with integers as uint8, as float32 where that is exact, or as int64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lifeq_jax.export.program import LOGITS, Integers

OPSET, IR_VERSION = 21, 10
EXACT = 2**24  # below it every integer is a float32, and so are sums of integers in any order
BYTE = 256
EXTRA = "pip install 'lifeq_jax[export]'"


class Nodes:
    """Nodes and initializers. Constants that are equal are stored once."""

    def __init__(self) -> None:
        import onnx

        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._known: dict[tuple, str] = {}

    def constant(self, array: Any, name: str = "") -> str:
        """The name of an initializer with this content."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name or f"c{len(self.initializers)}"
            self.initializers.append(self.onnx.numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def int4(self, array: np.ndarray, name: str) -> str:
        """An INT4 initializer, two values a byte."""
        kind = self.onnx.TensorProto.INT4
        self.initializers.append(self.onnx.helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist()))
        return name

    def add(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """A node of one output, whose name it returns; inputs are names, or arrays to be constants."""
        names = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        output = f"{op}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, names, [output], **attributes))
        return output

    def cast(self, name: str, kind: str) -> str:
        """A Cast to FLOAT, INT64, ..."""
        return self.add("Cast", name, to=getattr(self.onnx.TensorProto, kind))

    def model(self, image: Integers, tasks: int, logits: str, outputs: int) -> bytes:
        """The checked model: uint8 `image` (N, H, W, C), and `task` where there are several, to float32 `logits`."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        self.nodes.append(helper.make_node("Identity", [logits], [LOGITS]))
        inputs = [helper.make_tensor_value_info(image.name, kinds.UINT8, ["N", *image.shape])]
        if tasks > 1:
            inputs.append(helper.make_tensor_value_info("task", kinds.INT64, []))
        output = helper.make_tensor_value_info(LOGITS, kinds.FLOAT, ["N", outputs])
        graph = helper.make_graph(self.nodes, "lifeq_jax", inputs, [output], self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lifeq_jax")
        self.onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


class Tensor:
    """A value of the program in the graph, channels first. `real` is what it is first written as; the others follow.

    Forms: "u8", uint8 with the zero point `zero`; "f32"; "i64". u8 holds what spans up to 255, f32 what is EXACT."""

    def __init__(self, nodes: Nodes, integers: Integers, form: str, name: str):
        self.nodes, self.integers = nodes, integers
        self.zero = max(0, -integers.low)
        self._forms = {form: name} if name else {}
        self.make_int: Callable[[], str] | None = None  # for what is rarely wanted as integers of 64 bits
        self.make_digits: Callable[[], list[tuple[str, int]]] | None = None

    @property
    def fits_byte(self) -> bool:
        """Whether u8 holds it."""
        return fits_byte(self.integers)

    def as_float(self) -> str:
        """f32; from u8 by DequantizeLinear of unit scale."""
        return self._form(
            "f32", lambda: self._dequantized() if "u8" in self._forms else self.nodes.cast(self.as_int(), "FLOAT")
        )

    def as_int(self) -> str:
        """i64"""

        def convert() -> str:
            if self.make_int is not None:
                return self.make_int()
            if "f32" in self._forms:
                return self._cast("f32", "INT64")
            whole = self._cast("u8", "INT64")
            return self.nodes.add("Sub", whole, np.int64(self.zero)) if self.zero else whole

        return self._form("i64", convert)

    def as_byte(self) -> str:
        """u8"""

        def convert() -> str:
            if "f32" in self._forms:
                return self.nodes.add("QuantizeLinear", self._forms["f32"], np.float32(1), np.uint8(self.zero))
            whole = self.as_int()
            return self.nodes.cast(self.nodes.add("Add", whole, np.int64(self.zero)) if self.zero else whole, "UINT8")

        return self._form("u8", convert)

    def digits(self) -> list[tuple[str, int]]:
        """uint8 tensors and their zero points, the lowest first: sum of 256**i * (digit - zero)."""
        if self.fits_byte:
            return [(self.as_byte(), self.zero)]
        if self.make_digits is not None:
            return self.make_digits()
        shifted = self.nodes.add("Add", self.as_int(), np.int64(self.zero)) if self.zero else self.as_int()
        found = []
        for place, zero in enumerate(zeros_of(self.integers)):
            part = self.nodes.add("Div", shifted, np.int64(BYTE**place)) if place else shifted
            found.append((self.nodes.cast(self.nodes.add("Mod", part, np.int64(BYTE)), "UINT8"), zero))
        return found

    def _form(self, form: str, convert: Callable[[], str]) -> str:
        if form not in self._forms:
            self._forms[form] = convert()
        return self._forms[form]

    def _cast(self, form: str, kind: str) -> str:
        return self.nodes.cast(self._forms[form], kind)

    def _dequantized(self) -> str:
        return self.nodes.add("DequantizeLinear", self._forms["u8"], np.float32(1), np.uint8(self.zero))


def fits_byte(integers: Integers) -> bool:
    """Whether uint8 with the zero point -low, or 0, holds all values."""
    return max(integers.high, 0) - min(integers.low, 0) < BYTE


def zeros_of(integers: Integers) -> list[int]:
    """The digits of the zero point, as many as the values need."""
    zero = max(0, -integers.low)
    span = max(integers.high, 0) + zero
    return [zero // BYTE**place % BYTE for place in range((span.bit_length() + 7) // 8)]


def channels_first(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An array of one value, or one per channel, so that it spreads over a value of `shape` in the graph."""
    return array.reshape(-1, 1, 1) if len(shape) == 3 and array.size > 1 else array.reshape(-1)
