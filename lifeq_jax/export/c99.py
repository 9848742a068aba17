"""A program as one C99 file."""

import math
from typing import Any

import numpy as np

from lifeq_jax.export import c99_text as text
from lifeq_jax.export.pack import pack
from lifeq_jax.export.program import IMAGE, Integers, Op, Program, users

TYPES = {"uint8_t": (0, 255), "int8_t": (-128, 127), "int16_t": (-(2**15), 2**15 - 1), "int32_t": (-(2**31), 2**31 - 1)}
BYTES = {"uint8_t": 1, "int8_t": 1, "int16_t": 2, "int32_t": 4, "int64_t": 8}
ALIGNED = 8
PER_LINE = 24  # numbers of an array
C_NAMES = {np.dtype(np.int32): "int32_t", np.dtype(np.int64): "int64_t", np.dtype(np.uint8): "uint8_t"}


def write_c(program: Program) -> bytes:
    """The file."""
    return _File(program).write().encode()


def type_of(integers: Integers) -> str:
    """The smallest type that holds all values."""
    fitting = (name for name, (low, high) in TYPES.items() if low <= integers.low and integers.high <= high)
    return next(fitting, "int64_t")


class _File:
    def __init__(self, program: Program):
        self.program = program
        self.users = users(program)
        self.arrays: list[str] = []
        self.functions: dict[tuple, tuple[str, str]] = {}  # (template, its types) -> (name, text)
        self.calls: list[str] = []
        self.values: dict[str, Integers] = {IMAGE: program.image}
        self.tasks, self.row = 1, 1

    def write(self) -> str:
        sums: dict[str, Op] = {}  # products that one op alone reads, which turns their sums into codes one by one
        written: list[Op] = []
        for op in self.program.ops:
            self.values[op.output.name] = op.output
            if op.kind in ("conv", "dense") and [user.kind for user in self.users[op.output.name]] == ["requantize"]:
                sums[op.output.name] = op
                continue
            product = sums.get(op.inputs[0])
            if product is None:
                getattr(self, f"_{op.kind}")(op)
                written.append(op)
            else:
                self._product(product, op)
                written.append(Op(op.kind, product.inputs, op.output))
        places, workspace = _places(written)
        last = self.program.ops[-1].output
        head = text.HEAD.format(
            height=self.program.image.shape[0],
            width=self.program.image.shape[1],
            channels=self.program.image.shape[2],
            image=math.prod(self.program.image.shape),
            outputs=last.shape[0],
            tasks=self.tasks,
            task="TASK " if self.tasks > 1 else "",
            workspace=workspace + 4 * self.row,
        )
        functions = "".join(code for _, code in self.functions.values())
        return (
            head + text.SHARED + functions + "\n" + "\n".join(self.arrays) + self._body(places, workspace) + text.MAIN
        )

    def _body(self, places: dict[str, int], workspace: int) -> str:
        signature = "void lifeq_logits(const uint8_t *image, int task, float *logits, void *workspace)"
        lines = [f"    char *memory = workspace;\n    int32_t *row = (int32_t *)(void *)(memory + {workspace});"]
        for name, place in places.items():
            kind = type_of(self.values[name])
            lines.append(f"    {kind} *{name} = ({kind} *)(void *)(memory + {place});")
        lines += ["    int i, j;", *self.calls, "    (void)task; (void)row; (void)i; (void)j;"]
        return f"\n{signature};\n\n{signature} {{\n" + "\n".join(lines) + "\n}\n"

    # pieces

    def _array(self, array: np.ndarray, kind: str | None = None) -> str:
        name, flat = f"a{len(self.arrays)}", array.reshape(-1)
        if kind == "float":
            numbers = [f"{value:.9g}" for value in flat.astype(np.float32).tolist()]
            numbers = [f"{number}f" if set(number) & set(".en") else f"{number}.0f" for number in numbers]
        else:
            kind = kind or C_NAMES[array.dtype]
            suffix = "LL" if kind == "int64_t" else ""
            numbers = [f"{value}{suffix}" for value in flat.tolist()]
        rows = [",".join(numbers[start : start + PER_LINE]) for start in range(0, len(numbers), PER_LINE)]
        self.arrays.append(f"static const {kind} {name}[] = {{\n" + ",\n".join(rows) + "};")
        return name

    def _function(self, template: str, **types: str) -> str:
        key = (template, tuple(sorted(types.items())))
        if key not in self.functions:
            name = f"f{len(self.functions)}"
            self.functions[key] = (name, template.format(name=name, **types))
        return self.functions[key][0]

    def _line(self, op: Op) -> str:
        multiplier, bias, shift = (self.program.tensors[op.tensors[use]] for use in ("multiplier", "bias", "shift"))
        each, out = int(multiplier.size > 1), op.output
        arrays = ", ".join(self._array(item) for item in (multiplier, bias, shift))
        name = f"l{len(self.arrays)}"
        limits = f"{each}, {op.arguments['pre']}, {out.low}LL, {out.high}LL"
        self.arrays.append(f"static const struct line {name} = {{{arrays}, {limits}}};")
        return name

    def _shape(self, before: tuple[int, ...], after: tuple[int, ...], taps: tuple[int, int], arguments: Any) -> str:
        (h, w, c), (oh, ow, oc) = ((1, 1, *shape) if len(shape) == 1 else shape for shape in (before, after))
        strides, padding = arguments.get("strides", (1, 1)), arguments.get("padding", ((0, 0), (0, 0)))
        numbers = (h, w, c, oh, ow, oc, *taps, *strides, padding[0][0], padding[1][0], arguments.get("groups", 1))
        name = f"s{len(self.arrays)}"
        self.arrays.append(f"static const struct shape {name} = {{{', '.join(map(str, numbers))}}};")
        return name

    def _product(self, op: Op, codes: Op | None) -> None:
        """A convolution or linear layer, with the codes of its sums or with the sums."""
        weight, x = self.program.weights[op.tensors["weight"]], self.values[op.inputs[0]]
        offset = np.asarray(weight.offset).reshape(-1)
        each = int(offset.size > 1)
        kernel, packed = f"k{len(self.arrays)}", self._array(pack(weight.values, weight.stored))
        at = f"{packed}, {weight.stored}, {weight.factor}, {self._array(offset.astype(np.int32))}, {each}"
        self.arrays.append(f"static const struct kernel {kernel} = {{{at}}};")
        taps = weight.values.shape[:2] if op.kind == "conv" else (1, 1)
        shape = self._shape(x.shape, op.output.shape, taps, op.arguments)
        self.row = max(self.row, math.prod(weight.values.shape[:-1]))
        widest = np.abs(weight.integers).reshape(-1, weight.values.shape[-1]).sum(axis=0).max()
        acc = "int32_t" if int(widest) * x.reach < 2**31 else "int64_t"
        out = op.output if codes is None else codes.output
        line, result = ("", "sum") if codes is None else (", const struct line *l", "code_at(l, sum, o)")
        name = self._function(text.CONV, x=type_of(x), y=type_of(out), acc=acc, line=line, result=result)
        arguments = [op.inputs[0], out.name, f"&{kernel}", f"&{shape}"]
        arguments += [] if codes is None else [f"&{self._line(codes)}"]
        self.calls.append(f"    {name}({', '.join(arguments)}, row);")

    def _each(self, op: Op, value: str) -> None:
        """A loop over all values of the output."""
        size, out = math.prod(op.output.shape), op.output
        self.calls.append(f"    for (i = 0; i < {size}; i++) {out.name}[i] = ({type_of(out)})({value});")

    # kinds

    def _pixels(self, op: Op) -> None:
        table = self.program.tensors[op.tensors["table"]]
        self.tasks, channels, _ = table.shape
        task = f"task * {channels} + " if self.tasks > 1 else ""
        self._each(op, f"{self._array(table)}[({task}i % {channels}) * 256 + image[i]]")

    def _conv(self, op: Op) -> None:
        self._product(op, None)

    _dense = _conv

    def _requantize(self, op: Op) -> None:
        x = self.values[op.inputs[0]]
        name = self._function(text.REQUANTIZE, x=type_of(x), y=type_of(op.output))
        size, channels = math.prod(x.shape), x.shape[-1]
        self.calls.append(f"    {name}({op.inputs[0]}, {op.output.name}, {size}, {channels}, &{self._line(op)});")

    def _steps(self, op: Op) -> None:
        x, edges, codes = (
            self.values[op.inputs[0]],
            *(self.program.tensors[op.tensors[use]] for use in ("edges", "codes")),
        )
        name = self._function(text.STEPS, x=type_of(x), y=type_of(op.output))
        arrays = f"{self._array(edges)}, {len(edges)}, {self._array(codes)}"
        self.calls.append(f"    {name}({op.inputs[0]}, {op.output.name}, {math.prod(x.shape)}, {arrays});")

    def _lookup(self, op: Op) -> None:
        table = self._array(self.program.tensors[op.tensors["table"]])
        self._each(op, f"{table}[{op.inputs[0]}[i] - ({op.arguments['first']})]")

    def _add(self, op: Op) -> None:
        self._each(op, "{}[i] + {}[i]".format(*(self._wide(name, op) for name in op.inputs)))

    def _multiply(self, op: Op) -> None:
        x, y = (self.values[name].shape for name in op.inputs)
        place = "i" if x == y else f"i % {y[-1]}"
        self._each(op, f"{self._wide(op.inputs[0], op)}[i] * {op.inputs[1]}[{place}]")

    def _wide(self, name: str, op: Op) -> str:
        return f"(int64_t){name}" if type_of(op.output) == "int64_t" else name

    def _offset(self, op: Op) -> None:
        self._each(op, f"{self._wide(op.inputs[0], op)}[i] + ({op.arguments['constant']}LL)")

    def _clip(self, op: Op) -> None:
        name, out = op.inputs[0], op.output
        self._each(op, f"{name}[i] < {out.low}LL ? {out.low}LL : {name}[i] > {out.high}LL ? {out.high}LL : {name}[i]")

    def _sum(self, op: Op) -> None:
        (height, width, channels), out = self.values[op.inputs[0]].shape, op.output
        self.calls.append(f"    for (j = 0; j < {channels}; j++) {{")
        self.calls.append(f"        {type_of(out)} total = 0;")
        self.calls.append(
            f"        for (i = 0; i < {height * width}; i++) total += {op.inputs[0]}[i * {channels} + j];"
        )
        self.calls.append(f"        {out.name}[j] = total;\n    }}")

    def _max_pool(self, op: Op) -> None:
        x = self.values[op.inputs[0]]
        shape = self._shape(x.shape, op.output.shape, tuple(op.arguments["window"]), op.arguments)
        name = self._function(text.POOL, x=type_of(x), y=type_of(op.output))
        self.calls.append(f"    {name}({op.inputs[0]}, {op.output.name}, &{shape});")

    def _reshape(self, op: Op) -> None:
        self._each(op, f"{op.inputs[0]}[i]")

    def _slice(self, op: Op) -> None:
        before, after = self.values[op.inputs[0]].shape, op.output.shape
        index, inner = [], 1
        steps = list(zip(op.arguments["start"], op.arguments["strides"], strict=True))
        for axis in reversed(range(len(after))):
            start, stride = steps[axis]
            index.append(f"({start} + i / {inner} % {after[axis]} * {stride}) * {math.prod(before[axis + 1 :])}")
            inner *= after[axis]
        self._each(op, f"{op.inputs[0]}[{' + '.join(index)}]")

    def _dequantize(self, op: Op) -> None:
        step, bias = (self.program.tensors[op.tensors[use]] for use in ("step", "bias"))
        names = [f"{self._array(item, 'float')}[{'i' if item.size > 1 else '0'}]" for item in (step, bias)]
        size = op.output.shape[0]
        self.calls.append(
            f"    for (i = 0; i < {size}; i++) logits[i] = (float){op.inputs[0]}[i] * {' + '.join(names)};"
        )

    def _dense_float(self, op: Op) -> None:
        kernel, bias = (self.program.tensors[op.tensors[use]] for use in ("kernel", "bias"))
        names, step = [self._array(item, "float") for item in (kernel, bias)], f"{op.arguments['step']:.17g}"
        features, outputs = kernel.shape
        self.calls.append(f"    for (j = 0; j < {outputs}; j++) {{\n        float total = {names[1]}[j];")
        value = f"(float){op.inputs[0]}[i] * (float){step} * {names[0]}[i * {outputs} + j]"
        self.calls.append(
            f"        for (i = 0; i < {features}; i++) total += {value};\n        logits[j] = total;\n    }}"
        )


def _places(ops: list[Op]) -> tuple[dict[str, int], int]:
    """(where in memory each value lies, bytes in all): a value's bytes are free once its last reader is done."""
    last = {name: number for number, op in enumerate(ops) for name in op.inputs}
    places: dict[str, int] = {}
    held: dict[str, tuple[int, int]] = {}  # name -> bytes from, up to
    top = 0
    for number, op in enumerate(ops[:-1]):
        size = -(-math.prod(op.output.shape) * BYTES[type_of(op.output)] // ALIGNED) * ALIGNED
        start = 0
        for low, high in sorted(held.values()):
            if start + size <= low:
                break
            start = max(start, high)
        places[op.output.name] = start
        held[op.output.name] = (start, start + size)
        top = max(top, start + size)
        held = {name: ends for name, ends in held.items() if last.get(name, 0) > number}
    return places, top
