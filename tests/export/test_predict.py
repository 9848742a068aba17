"""Classes of image files, by the files of an export alone."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.export import export_network
from lifeq_jax.export.integer import run
from lifeq_jax.export.manifest import About, read_exported
from lifeq_jax.export.predict import outputs_of, predict
from lifeq_jax.export.runtime import compiler
from tests.export.networks import SHAPE, SMALL, about, made, pixels, spec_of

HEADS = ((0, 2), (1, 3, 4))
ONE_HEAD = (tuple(range(5)),)


@pytest.fixture(scope="module")
def trained():
    return made(SMALL)


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    export_network(trained, about(SHAPE), out, ["onnx", "c"], [])
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number, image in enumerate(pixels(4, SHAPE, seed=3)):
        Image.fromarray(image[..., 0]).save(root / f"{number}.png")
    return sorted(root.iterdir())


def test_names_and_probabilities(folder, files):
    found = predict(folder, files, top=5)
    logits = run(read_exported(folder).program, pixels(4, SHAPE, seed=3)).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, path, wanted in zip(found, files, expected, strict=True):
        assert {guess.image for guess in row} == {str(path)}
        assert [guess.output for guess in row] == np.argsort(-wanted).tolist()
        assert [guess.name for guess in row] == [f"class {guess.output}" for guess in row]
        np.testing.assert_allclose([guess.probability for guess in row], np.sort(wanted)[::-1], rtol=1e-5)


@pytest.mark.parametrize(
    "runtime", ["onnx", pytest.param("c", marks=pytest.mark.skipif(not compiler(), reason="no cc"))]
)
def test_every_runtime_says_the_same(folder, files, runtime):
    for row, other in zip(predict(folder, files), predict(folder, files, runtime=runtime), strict=True):
        assert [guess.name for guess in row] == [guess.name for guess in other]
        np.testing.assert_allclose([a.probability for a in row], [b.probability for b in other], rtol=1e-5)
        assert len(row) == 3


def test_a_task_chooses_among_its_outputs(trained, files, tmp_path):
    plain = about(SHAPE)
    export_network(trained, About(plain.input, plain.classes, HEADS, plain.run), tmp_path / "out", [], [])
    for task, outputs in enumerate(HEADS):
        (row, *_) = predict(tmp_path / "out", files, task=task)
        assert sorted(guess.output for guess in row) == list(outputs)
        np.testing.assert_allclose(sum(guess.probability for guess in row), 1, rtol=1e-6)
    for task, words in (
        (None, "--task is missing: the tasks of this network differ; choose from 0 to 1"),
        (2, "--task 2"),
    ):
        with pytest.raises(Refusal, match=words):
            predict(tmp_path / "out", files, task=task)


@pytest.mark.parametrize("task", [None, 1, -1])
def test_the_one_head_of_a_network_is_named(task):
    plain = about(SHAPE)
    single = About(plain.input, plain.classes, ONE_HEAD, plain.run)
    assert outputs_of(single, 0).tolist() == list(range(5))
    with pytest.raises(Refusal, match="choose from 0 to 0"):
        outputs_of(single, task)


def test_a_task_has_its_own_mean(trained, files, tmp_path):
    plain = about(SHAPE)
    spec = spec_of(SHAPE)._replace(mean=(0.4, 0.9), std=(0.25, 0.5))
    export_network(trained, plain.__class__(spec, plain.classes, None, plain.run), tmp_path / "out", ["onnx", "c"], [])
    with pytest.raises(Refusal, match="--task is missing"):
        predict(tmp_path / "out", files)
    first, second = (predict(tmp_path / "out", files, task=task)[0][0].probability for task in (0, 1))
    assert abs(first - second) > 1e-4
    for runtime in ("onnx", *(["c"] if compiler() else [])):
        again = predict(tmp_path / "out", files, task=1, runtime=runtime)[0][0].probability
        np.testing.assert_allclose(again, second, rtol=1e-5)


def test_refused(folder, files, tmp_path):
    with pytest.raises(Refusal, match="--runtime='tpu' is unknown; choose from c, numpy, onnx"):
        predict(folder, files, runtime="tpu")
    with pytest.raises(Refusal, match="--top 0 is out of range"):
        predict(folder, files, top=0)
    with pytest.raises(Refusal, match="manifest.json does not exist"):
        predict(tmp_path, files)
    with pytest.raises(Refusal, match="no.png is not a readable image"):
        predict(folder, [tmp_path / "no.png"])


@pytest.mark.parametrize("runtime", ["numpy", "onnx"])
def test_neither_jax_nor_tensorflow_is_imported(folder, files, runtime):
    """The command itself, in a process in which they cannot be."""
    lines = [
        "import sys",
        "class Missing:",
        "    def find_spec(self, name, *rest):",
        "        if name.split('.')[0] in ('jax', 'flax', 'optax', 'orbax', 'tensorflow'):",
        "            raise ImportError(f'no {name}')",
        "sys.meta_path.insert(0, Missing())",
        "from lifeq_jax.cli import main",
        f"sys.exit(main(['predict', {str(folder)!r}, {str(files[0])!r}, '--runtime', {runtime!r}, '--csv']))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, first, *others = done.stdout.splitlines()
    assert header == "image,rank,class,probability"
    guess = predict(folder, files[:1])[0][0]
    assert first == f"{files[0]},1,{guess.name},{guess.probability:.6f}"
    assert len(others) == 2
