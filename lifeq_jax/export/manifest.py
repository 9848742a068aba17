"""The files of an exported network: weights.safetensors, and manifest.json with everything else. NumPy only."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.image import InputSpec
from lifeq_jax.export.pack import pack, unpack
from lifeq_jax.export.program import Integers, Op, Program, Weight

FORMAT = 1
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
WIDEST = 16  # bits of a packed code


@dataclass(frozen=True)
class About:
    """The content of a manifest besides the program."""

    input: InputSpec
    classes: tuple[str, ...]  # of the outputs, in their order
    heads: tuple[tuple[int, ...], ...] | None  # outputs of each task; None: all tasks share all outputs
    run: Mapping[str, Any]  # where the network comes from
    frozen_bits: Mapping[str, list[int]] | None = None
    """BLIP: of each kernel, how many of its values have 0, 1, 2, ... frozen bits"""

    @property
    def tasks(self) -> int:
        """The tasks of which an image's must be known, as they have outputs or pixel numbers of their own; or 0."""
        if self.heads is not None:
            return len(self.heads)
        means = len(self.input.mean) // self.input.size[2]
        return means if means > 1 else 0


@dataclass(frozen=True)
class Exported:
    """A folder that was read."""

    folder: Path
    about: About
    program: Program
    files: Mapping[str, str]  # name -> SHA-256


def write_packed(folder: Path, program: Program, about: About, thresholds: list[dict[str, Any]]) -> None:
    """Writes both files. Refuses codes that need more than 16 bits."""
    for name, weight in program.weights.items():
        if weight.stored > WIDEST:
            raise Refusal(f"{name} needs {weight.stored} bits a code; packed codes have at most {WIDEST}")
    tensors = program.tensors | {name: pack(weight.values, weight.stored) for name, weight in program.weights.items()}
    content = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    (folder / WEIGHTS).write_bytes(content)
    plain = {
        "format": FORMAT,
        **asdict(about),
        "input": about.input._asdict(),
        "layers": {name: _layer(weight) for name, weight in program.weights.items()},
        "thresholds": thresholds,
        "program": [_plain(op) for op in program.ops],
        "files": {WEIGHTS: _digest(content)},
    }
    _write(folder, plain)


def add_file(folder: Path, name: str, content: bytes) -> None:
    """Writes a further file, and its digest into the manifest."""
    (folder / name).write_bytes(content)
    plain = _read(folder)
    plain["files"][name] = _digest(content)
    _write(folder, plain)


def add_section(folder: Path, name: str, content: Any) -> None:
    """Adds a section to the manifest."""
    _write(folder, _read(folder) | {name: content})


def read_exported(folder: Path) -> Exported:
    """The program of an export folder. Refuses a folder without one, an unknown format and changed weights."""
    plain = _read(folder)
    if plain.get("format") != FORMAT:
        raise Refusal(f"{folder / MANIFEST} has format {plain.get('format')!r}; this version reads {FORMAT}")
    try:
        tensors = load(read_file(folder, WEIGHTS, plain["files"]))
        weights = {name: _weight(layer, tensors.pop(name)) for name, layer in plain["layers"].items()}
        ops = tuple(_op(op) for op in plain["program"])
        spec: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain["input"].items()
        }
        heads = None if plain["heads"] is None else tuple(map(tuple, plain["heads"]))
        about = About(InputSpec(**spec), tuple(plain["classes"]), heads, plain["run"], plain["frozen_bits"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"{folder / MANIFEST} is damaged: {type(error).__name__} {error}") from None
    return Exported(folder, about, Program(ops, tensors, weights), plain["files"])


def read_file(folder: Path, name: str, files: Mapping[str, str]) -> bytes:
    """The content of one of the folder's files. Refuses one that is not there or not as it was written."""
    if name not in files or not (folder / name).is_file():
        raise Refusal(f"{folder} has no {name}; it holds {', '.join(sorted(files))}")
    content = (folder / name).read_bytes()
    if _digest(content) != files[name]:
        raise Refusal(f"{folder / name} is not the file that was exported: its SHA-256 is not that of {MANIFEST}")
    return content


def packed_bytes(weight: Weight) -> int:
    """Bytes of a kernel's packed codes."""
    return -(-weight.values.size * weight.stored // 8)


def _layer(weight: Weight) -> dict[str, Any]:
    return {
        "bits": weight.bits,
        "stored_bits": weight.stored,
        "shape": list(weight.values.shape),
        "lowest": weight.lowest,
        "codes": [int(weight.values.min()) + weight.lowest, int(weight.values.max()) + weight.lowest],
        "scale": list(weight.scale),
        "zero": list(weight.zero),
        "factor": weight.factor,
        "offset": np.asarray(weight.offset).tolist(),
        "bytes": packed_bytes(weight),
        "float_bytes": 4 * weight.values.size,
    }


def _weight(layer: dict[str, Any], packed: np.ndarray) -> Weight:
    values = unpack(packed, layer["stored_bits"], layer["shape"])
    zero, scale = tuple(layer["zero"]), tuple(layer["scale"])
    offset = np.asarray(layer["offset"], np.int64)
    return Weight(values, layer["bits"], layer["stored_bits"], layer["factor"], offset, layer["lowest"], zero, scale)


def _plain(op: Op) -> dict[str, Any]:
    found = {"kind": op.kind, "inputs": list(op.inputs), "output": op.output._asdict(), "layer": op.layer}
    return found | {"arguments": dict(op.arguments), "tensors": dict(op.tensors)}


def _op(plain: dict[str, Any]) -> Op:
    output = Integers(**plain["output"] | {"shape": tuple(plain["output"]["shape"])})
    return Op(plain["kind"], tuple(plain["inputs"]), output, plain["arguments"], plain["tensors"], plain["layer"])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise Refusal(f"{folder / MANIFEST} does not exist; `lifeq-jax export RUN` makes such a folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"{folder / MANIFEST} is not JSON: {error}") from None


def _write(folder: Path, plain: dict[str, Any]) -> None:
    # one op a line: the program can be read, and the file stays short
    lines = json.dumps(plain | {"program": None}, indent=1)
    ops = ",\n".join("  " + json.dumps(op) for op in plain["program"])
    (folder / MANIFEST).write_text(lines.replace('"program": null', f'"program": [\n{ops}\n ]') + "\n")
