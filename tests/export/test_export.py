"""A trained network to a folder, and the folder alone to its logits."""

import builtins
import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export import export
from lifeq_jax.export.check import Images
from lifeq_jax.export.export import choose_formats, export_network
from lifeq_jax.export.integer import run
from lifeq_jax.export.manifest import read_exported
from lifeq_jax.export.runtime import compiler, runtimes
from tests.export.networks import CLASSES, SHAPE, SMALL, about, images, lowered_of, made, pixels


@pytest.fixture(scope="module")
def trained():
    return made(SMALL)


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """(result, folder) of all formats, compared on six images whose labels are known."""
    given = Images(pixels(6, SHAPE), np.arange(6) % CLASSES, 0, np.arange(CLASSES))
    folder = tmp_path_factory.mktemp("run") / "export" / "w4a4"
    return export_network(trained, about(SHAPE), folder, ["onnx", "int8", "c"], [given]), folder


def test_every_file_agrees_with_the_network(written):
    result, folder = written
    files = {"weights.safetensors (NumPy)", "model.onnx (not optimized)", "model.onnx (fully optimized)"}
    exact = files | ({"model.c"} if compiler() else set())
    assert result.agreement.keys() == {"trained", "model.int8.onnx (fully optimized)"} | exact
    assert result.flips is not None and (result.flips.flipped, result.flips.images) == (0, 0)
    for name in exact:
        row = result.agreement[name]
        assert (row.images, row.same_class) == (6, 6)
        assert row.logits < 1e-5
        assert row.accuracy == result.agreement["trained"].accuracy
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors", "manifest.json", "model.onnx", "model.int8.onnx", "model.c", "export.md"
    }  # fmt: skip


def test_the_report(written):
    result, folder = written
    report = (folder / "export.md").read_text()
    assert report == result.report + "\n"
    lines = report.splitlines()
    (stem,) = [line for line in lines if line.startswith("| stem/conv ")]
    assert [cell.strip() for cell in stem.split("|")[1:6]] == ["stem/conv", "4", "0..14", "18", "144"]
    thresholds = sum(staged.thresholds for staged in result.lowered.staged)
    assert f"thresholds {thresholds:,}, none misplaced" in report
    assert "codes 2,592: 0 differ, in 0 images" in report
    [(wrong, fast, layers)] = re.findall(r"model.int8.onnx: (\w+) of the (\S+) thresholds of its (\d+) fused", report)
    assert wrong == "none" and 0 < int(fast.replace(",", "")) <= thresholds and int(layers) > 0
    assert len([line for line in lines if line.startswith("| model.")]) == 4 - (compiler() is None)


def test_the_manifest(written):
    result, folder = written
    plain = json.loads((folder / "manifest.json").read_text())
    assert plain["classes"] == [f"class {i}" for i in range(CLASSES)]
    assert plain["check"]["codes"]["flipped"] == 0
    assert plain["files"].keys() == {path.name for path in folder.iterdir()} - {"manifest.json", "export.md"}
    assert [row["layer"] for row in plain["thresholds"]] == [staged.layer for staged in result.lowered.staged]
    assert plain["thresholds"][0] == {
        "layer": "stem/act",
        "bits": 4,
        "codes": [0, 15],
        "thresholds": 60,
        "misplaced": 0,
        "furthest": 0.0,
    }


def test_packed_codes_are_an_eighth(written):
    _, folder = written
    plain, weights = json.loads((folder / "manifest.json").read_text()), read_exported(folder).program.weights
    assert plain["layers"].keys() == weights.keys()
    stored = load_file(folder / "weights.safetensors")
    for name, layer in plain["layers"].items():
        assert layer["float_bytes"] == 4 * weights[name].values.size
        assert stored[name].nbytes == layer["bytes"] == layer["float_bytes"] / 8


def test_a_file_that_is_another_network_is_named(trained, tmp_path, monkeypatch):
    program = lowered_of(trained).program
    monkeypatch.setattr(
        export, "runtimes", lambda exported: {"model.int8.onnx": lambda pixels, task: -run(program, pixels)}
    )
    result = export_network(trained, about(SHAPE), tmp_path / "out", [], [images(9, SHAPE)])
    assert result.notes == ("model.int8.onnx gives 9 of 9 images another class than the trained network",)


def test_the_folder_is_enough(written, tmp_path):
    _, folder = written
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    image = pixels(3, SHAPE, seed=5)
    found = {name: way(image, 0) for name, way in runtimes(read_exported(moved)).items() if "int8" not in name}
    (first, *others) = found.values()
    assert len(others) >= 2
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-5)


def test_two_exports_have_the_same_bytes(trained, written, tmp_path):
    _, folder = written
    export_network(trained, about(SHAPE), tmp_path / "again", ["onnx", "int8", "c"], [])
    for name in ("weights.safetensors", "model.onnx", "model.int8.onnx", "model.c"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_without_images_nothing_is_compared(trained, tmp_path):
    result = export_network(trained, about(SHAPE), tmp_path / "out", [], [])
    assert (result.flips, result.agreement) == (None, {})
    assert "check" not in json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "none misplaced" in result.report and "| trained" not in result.report


def test_an_earlier_export_is_replaced_and_nothing_else_is(trained, tmp_path):
    export_network(trained, about(SHAPE), tmp_path / "out", ["c"], [])
    export_network(trained, about(SHAPE), tmp_path / "out", [], [])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"weights.safetensors", "manifest.json", "export.md"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("")
    with pytest.raises(Refusal, match="photos is there and holds no export; choose another --out"):
        export_network(trained, about(SHAPE), tmp_path / "photos", [], [])
    assert (tmp_path / "photos" / "cat.png").exists()


def test_a_refused_network_leaves_nothing(tmp_path):
    network = made(SMALL, act=("activation", {"normalize": True}))
    with pytest.raises(Refusal, match="as activation"):
        export_network(network, about(SHAPE), tmp_path / "out", [], [images(1, SHAPE)])
    assert list(tmp_path.iterdir()) == []


def test_formats_by_name():
    assert choose_formats(None) == (["onnx", "int8", "c"], "")
    assert choose_formats(["c", "packed", "onnx"]) == (["onnx", "c"], "")
    with pytest.raises(Refusal, match="--formats='tflite' is unknown; choose from c, int8, onnx, packed"):
        choose_formats(["tflite"])


def test_without_onnx_the_rest_is_written(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    chosen, remark = choose_formats(None)
    assert (chosen, remark) == (["c"], "no ONNX files: onnx is not installed: pip install 'lifeq_jax[export]'")
    with pytest.raises(Refusal, match=r"--formats onnx: onnx is not installed: pip install 'lifeq_jax\[export\]'"):
        choose_formats(["onnx"])


def test_a_file_that_a_network_does_not_have_is_left_out_or_refused(tmp_path):
    network = made(SMALL, bits=8)
    result = export_network(network, about(SHAPE), tmp_path / "out", None, [])
    (note,) = result.notes
    assert note.startswith("not written: model.int8.onnx holds 8-bit weights and activations")
    assert (tmp_path / "out" / "model.onnx").exists() and not (tmp_path / "out" / "model.int8.onnx").exists()
    with pytest.raises(Refusal, match="none of the 3 layers has both; choose --formats packed,onnx,c"):
        export_network(network, about(SHAPE), tmp_path / "other", ["int8"], [])
    assert not (tmp_path / "other").exists()
