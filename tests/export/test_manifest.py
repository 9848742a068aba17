"""Folders come back as they were written, and changed ones are refused."""

import json

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.image import InputSpec
from lifeq_jax.export.manifest import About, add_file, add_section, read_exported, read_file, write_packed
from lifeq_jax.export.program import Integers, Op, Program, Weight

ABOUT = About(
    InputSpec((8, 6, 3), 1, (7, 5), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), True),
    ("cat", "dog"),
    ((0,), (1,)),
    {"name": "n", "seed": 1},
    {"stem/kernel": [3, 0, 2]},
)
OP = Op("conv", ("image",), Integers("v0", (3, 3, 2), -9, 2**40), {"strides": [1, 2]}, {"weight": "w"}, "stem")
WEIGHTS = {
    "w": Weight(np.arange(16).reshape(1, 1, 2, 8), 4, 4, 2, np.asarray(-15), 0, (7.5,), (0.25,)),
    "wide": Weight(np.arange(400).reshape(20, 20), 8, 9, 1, np.array([3, -4] * 10), -7, (0.0,) * 20, (0.5,) * 20),
}
TENSORS = {"bias": np.array([2**40], np.int64), "table": np.ones((1, 1, 256), np.int32)}


@pytest.fixture
def folder(tmp_path):
    write_packed(tmp_path, Program((OP,), TENSORS, WEIGHTS), ABOUT, [{"layer": "act", "misplaced": 0}])
    return tmp_path


def test_round_trip(folder):
    found = read_exported(folder)
    assert found.about == ABOUT
    assert found.program.ops == (OP,)
    for name, weight in WEIGHTS.items():
        read = found.program.weights[name]
        np.testing.assert_array_equal(read.integers, weight.integers)
        assert read._replace(values=0, offset=0) == weight._replace(values=0, offset=0)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found.program.tensors[name], tensor)
        assert found.program.tensors[name].dtype == tensor.dtype


def test_the_manifest_says_what_a_reader_needs(folder):
    plain = json.loads((folder / "manifest.json").read_text())
    assert plain["layers"]["w"] == {
        "bits": 4,
        "stored_bits": 4,
        "shape": [1, 1, 2, 8],
        "lowest": 0,
        "codes": [0, 15],
        "scale": [0.25],
        "zero": [7.5],
        "factor": 2,
        "offset": -15,
        "bytes": 8,
        "float_bytes": 64,
    }
    assert (plain["layers"]["wide"]["codes"], plain["layers"]["wide"]["bytes"]) == ([-7, 392], 450)
    assert plain["frozen_bits"] == {"stem/kernel": [3, 0, 2]}
    assert plain["thresholds"] == [{"layer": "act", "misplaced": 0}]


def test_two_exports_have_the_same_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_packed(
        other, Program((OP,), dict(reversed(TENSORS.items())), WEIGHTS), ABOUT, [{"layer": "act", "misplaced": 0}]
    )
    for name in ("weights.safetensors", "manifest.json"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_byte_is_refused(folder, place):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refusal, match="weights.safetensors is not the file that was exported"):
        read_exported(folder)


def test_further_files_and_sections(folder):
    add_file(folder, "model.c", b"int x;")
    add_section(folder, "check", {"images": 3})
    found = read_exported(folder)
    assert read_file(folder, "model.c", found.files) == b"int x;"
    assert json.loads((folder / "manifest.json").read_text())["check"] == {"images": 3}
    (folder / "model.c").write_bytes(b"int y;")
    with pytest.raises(Refusal, match="model.c is not the file"):
        read_file(folder, "model.c", found.files)
    with pytest.raises(Refusal, match="has no model.onnx; it holds model.c, weights.safetensors"):
        read_file(folder, "model.onnx", found.files)


def test_refused_folders(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(Refusal, match="manifest.json does not exist; `lifeq-jax export RUN`"):
        read_exported(empty)
    path = folder / "manifest.json"
    plain = json.loads(path.read_text())
    for changed, words in (({"format": 9}, "has format 9; this version reads 1"), ({"layers": 3}, "is damaged")):
        path.write_text(json.dumps(plain | changed))
        with pytest.raises(Refusal, match=words):
            read_exported(folder)
    path.write_text("{")
    with pytest.raises(Refusal, match="is not JSON"):
        read_exported(folder)


def test_codes_of_more_than_16_bits_are_refused(tmp_path):
    wide = Weight(np.array([[2**16]]), 8, 17, 1, np.asarray(0), 0, (0.0,), (1.0,))
    with pytest.raises(Refusal, match="stem/codes needs 17 bits a code; packed codes have at most 16"):
        write_packed(tmp_path, Program((OP,), {}, {"stem/codes": wide}), ABOUT, [])
