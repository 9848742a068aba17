"""`lifeq-jax export` and `predict` on run folders, from the words to the printed lines."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lifeq_jax.cli import main
from lifeq_jax.core.config import Data, Part, Recipe, Stage, to_json
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.export.manifest import read_exported
from lifeq_jax.export.runtime import compiler
from lifeq_jax.runs.columns import CLASS_COLUMNS, CLASSES
from lifeq_jax.runs.data import read_data, write_data
from lifeq_jax.train.build import build_model
from lifeq_jax.train.checkpoint import Checkpoints, Progress, kept_network
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.identity import CODE
from lifeq_jax.train.world import read_identity
from tests.export.networks import SHAPE, pixels, trained

NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Class folders of small images, and the CSV files of two tasks of two classes each."""
    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(NAMES):
        for split, count in (("train", 4), ("test", 3)):
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for index, image in enumerate(pixels(count, SHAPE, seed=10 * number + len(split))):
                Image.fromarray(image[..., 0]).save(folder / f"{index}.png")
    make_lifelong(root / "images", root / "tasks", num_tasks=2, diminish_rate=1.0)
    return root


@pytest.fixture(scope="module")
def recipe(data):
    size = dict(image=SHAPE, crop=SHAPE[:2], pad=0, flip=False, mean=(0.4,), std=(0.25,), batch_size=4)
    return Recipe(
        name="small",
        data=Data(str(data / "images"), str(data / "tasks"), 2, 4, replay=False, **size),
        model=Part("resnet8", {"width": 4}),
        stages=(Stage("float", 32, 32, 1, 0.1), Stage("w4a4", 4, 4, 1, 0.1)),
        importance_data="train",
    )


def run_folder(recipe, folder, training=None):
    """A run that has finished, without the training."""
    folder.mkdir()
    (folder / "config.json").write_text(to_json(recipe))
    (folder / CLASSES).write_text(",".join(CLASS_COLUMNS) + "\n")
    write_data(folder, read_identity(recipe, Path(recipe.data.root))[1])
    done = Progress(2, 0, True, [[0.5, 0.5]] * 2, [0.5, 0.5], {}, 0.0, 0, 1.0, {}, 1.0, 0.0, {}, [0.5, 0.5])
    for stage in recipe.stages:
        model = build_model(recipe, stage.weight_bits, stage.act_bits, num_classes=recipe.data.num_classes)
        network = trained(model, SHAPE)
        checkpoints = Checkpoints(folder / "checkpoints" / stage.name)
        weights = {"params": network.params, "batch_stats": network.batch_stats}
        checkpoints.save(weights, training or {"step": jnp.zeros(())}, done)
        checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    return run_folder(recipe, tmp_path_factory.mktemp("runs") / "run")


def said(capsys, *words):
    """(exit code, lines on stdout, lines on stderr)"""
    code = main([str(word) for word in words])
    out, error = capsys.readouterr()
    return code, out.splitlines(), error.splitlines()


def test_export_and_predict_agree_with_eval(run, data, capsys):
    code, lines, _ = said(capsys, "export", run)
    assert code == 0
    assert lines[0] == "# small, stage w4a4"
    assert lines[-1] == f"export: {run / 'export' / 'w4a4'}"
    exact = [line.split("|") for line in lines if line.startswith(("| weights", "| model.onnx", "| model.c"))]
    assert len(exact) >= 3
    for row in exact:
        assert row[3].strip() == "12 of 12"
        assert float(row[4]) < 1e-5

    files = sorted((data / "images" / "test").glob("*/*.png"))
    code, lines, _ = said(capsys, "predict", run / "export" / "w4a4", *files, "--csv", "--top", "1")
    assert (code, lines[0]) == (0, "image,rank,class,probability")
    right = {task: [] for task in (0, 1)}
    tasks = [set(np.loadtxt(data / f"tasks_test{t}.csv", str, delimiter=",", skiprows=1)[:, 0]) for t in (0, 1)]
    for path, line in zip(files, lines[1:], strict=True):
        name = str(path.relative_to(data / "images"))
        right[0 if name in tasks[0] else 1].append(line.split(",")[2] == path.parent.name)
    for task, hits in right.items():
        assert np.mean(hits) == pytest.approx(evaluate_run(run, data / f"tasks_test{task}.csv").accuracy)


def test_printed_guesses(run, data, capsys):
    said(capsys, "export", run, "--formats", "packed")
    image = data / "images" / "test" / "bee" / "0.png"
    code, (line,), _ = said(capsys, "predict", run / "export" / "w4a4", image, "--top", "2")
    assert code == 0
    path, guesses = line.split(": ")
    assert path == str(image)
    for guess in guesses.split(", "):
        name, share, unit = guess.split(" ")
        assert (name in NAMES, unit) == (True, "%") and 0 <= float(share) <= 100


def test_other_folders_formats_and_images(run, data, tmp_path, capsys):
    code, lines, _ = said(
        capsys, "export", run, "--out", tmp_path / "out", "--formats", "c", "--check", data / "tasks_test0.csv"
    )
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "weights.safetensors", "manifest.json", "model.c", "export.md"
    }  # fmt: skip
    assert any("6 of 6" in line for line in lines)
    about = read_exported(tmp_path / "out").about
    assert about.classes == NAMES
    assert (about.run["stage"], about.run["weight_bits"], about.run["tasks_learned"]) == ("w4a4", 4, 2)
    assert about.frozen_bits is None


def test_names_of_classes_and_data_that_has_changed(recipe, data, tmp_path, capsys):
    names = ("Ameise", "Biene", "Katze", "Hund")
    run = run_folder(
        dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, classes=names)), tmp_path / "run"
    )
    write_data(run, {**read_data(run), "train0": "another"})
    code, lines, _ = said(capsys, "export", run, "--formats", "packed")
    assert (code, lines[0][:47]) == (0, "note: the data has changed since the run began:")
    assert read_exported(run / "export" / "w4a4").about.classes == names
    _, lines, _ = said(capsys, "eval", run, "--csv", data / "tasks_test0.csv")
    assert {line.split()[1] for line in lines if line.startswith("  class ")} < set(names)


def test_the_network_of_the_end_of_a_task(run, tmp_path, capsys):
    with closing(Checkpoints(run / "checkpoints" / "w4a4")) as checkpoints:
        (params, batch_stats), items = checkpoints.weights(), checkpoints.items()
    params["classifier"]["dense"]["bias"] += 1
    network = {"params": params, "batch_stats": batch_stats}
    with closing(Checkpoints(kept_network(run, "w4a4", 0))) as kept:
        kept.save(network, {"task": np.int32(0)}, items.progress._replace(matrix=[[0.5, 0.5]]))
    assert said(capsys, "export", run, "--formats", "packed", "--after-task", "0")[0] == 0
    exported = read_exported(run / "export" / "w4a4_task0")
    assert exported.about.run["tasks_learned"] == 1
    bias = params["classifier"]["dense"]["bias"]
    np.testing.assert_array_equal(exported.program.tensors["classifier/dense/bias"], bias)
    code, _, (line,) = said(capsys, "export", run, "--after-task", "1")
    assert code == 2 and "keeps no networks of tasks" in line


def test_heads_per_task(recipe, data, tmp_path, capsys):
    heads = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, heads="per_task"))
    run = run_folder(heads, tmp_path / "run")
    code, _, _ = said(capsys, "export", run, "--formats", "packed")
    assert code == 0
    exported = run / "export" / "w4a4"
    about = read_exported(exported).about
    assert about.heads == ((0, 1), (2, 3))
    assert sorted(about.classes) == list(NAMES)
    image = data / "images" / "test" / "bee" / "0.png"
    for task, outputs in enumerate(about.heads):
        code, lines, _ = said(capsys, "predict", exported, image, "--task", task, "--csv")
        assert {line.split(",")[2] for line in lines[1:]} == {about.classes[output] for output in outputs}
    assert said(capsys, "predict", exported, image) == (
        2, [], ["lifeq-jax: --task is missing: the tasks of this network differ; choose from 0 to 1"]
    )  # fmt: skip
    if compiler():
        said(capsys, "export", run, "--formats", "c")
        code, lines, _ = said(capsys, "predict", exported, image, "--task", "1", "--runtime", "c", "--csv")
        assert (code, len(lines)) == (0, 3)
    code, _, (line,) = said(capsys, "export", run, "--check", data / "tasks_test1.csv")
    assert (code, line) == (2, "lifeq-jax: --task is missing: the tasks of this run differ; choose from 0 to 1")
    code, lines, _ = said(
        capsys, "export", run, "--check", data / "tasks_test1.csv", "--task", "1", "--formats", "packed"
    )
    assert code == 0 and any("6 of 6" in line for line in lines)


def test_frozen_bits_of_blip_are_in_the_manifest(recipe, tmp_path, capsys):
    bits = {"stem/conv/kernel": jnp.array([0, 2, 2, 3], jnp.int32), "classifier/dense/bias": jnp.array([1])}
    training = {"method_state": {"0": {"bits": bits, "anchor": {"stem/conv/kernel": jnp.zeros(4)}}}}
    frozen = dataclasses.replace(recipe, method=Part("blip"))
    run = run_folder(frozen, tmp_path / "run", training)
    assert said(capsys, "export", run, "--formats", "packed")[0] == 0
    plain = json.loads((run / "export" / "w4a4" / "manifest.json").read_text())
    assert plain["frozen_bits"] == {"stem/conv/kernel": [1, 0, 2, 1], "classifier/dense/bias": [0, 1]}


OWN = """
from lifeq_jax.models.resnet import ResNet

def small_net(num_classes, quantizers, axis_name=None):
    return ResNet(num_classes, quantizers, (1,), 4)
"""


def test_a_network_of_ones_own_is_read_from_the_run_folder(recipe, tmp_path, capsys):
    file = tmp_path / "nets.py"
    file.write_text(OWN)
    run = run_folder(dataclasses.replace(recipe, model=Part(f"{file}:small_net")), tmp_path / "run")
    (run / CODE).mkdir()
    file.rename(run / CODE / "nets.py")
    code, lines, _ = said(capsys, "export", run, "--formats", "packed")
    assert code == 0
    assert "12 of 12" in next(line for line in lines if line.startswith("| weights"))


REFUSED = [
    ({}, ("--stage", "float"), "stage float has weights of 32 bits, nothing to pack; choose --stage w4a4"),
    ({}, ("--stage", "w2a2"), "has no stage 'w2a2'; choose from float, w4a4"),
    ({}, ("--formats", "gguf"), "--formats='gguf' is unknown; choose from c, int8, onnx, packed"),
    ({}, ("--task", "7"), "--task 7 is not a task of the run; choose from 0 to 1"),
    ({"precision": "bfloat16"}, (), "recipe.precision='bfloat16'"),
    ({"act_quantizer": Part("activation", {"normalize": True})}, (), "recipe.act_quantizer.args.normalize=True"),
    ({"permuted": True}, (), "data.permuted=True"),
]


@pytest.mark.parametrize(("changed", "words", "line"), REFUSED, ids=lambda item: str(item)[:40])
def test_refused_in_one_line(recipe, run, changed, words, line, tmp_path, capsys):
    if changed:
        own = {key: value for key, value in changed.items() if key != "permuted"}
        permuted = dataclasses.replace(recipe.data, permuted="permuted" in changed)
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "config.json").write_text(to_json(dataclasses.replace(recipe, data=permuted, **own)))
        (folder / "checkpoints").symlink_to(run / "checkpoints")
        run = folder
    code, out, error = said(capsys, "export", run, *words)
    assert (code, out, len(error)) == (2, [], 1)
    assert line in error[0]


def test_a_run_that_has_not_begun_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "config.json").write_text(to_json(recipe))
    code, out, (line,) = said(capsys, "export", tmp_path)
    assert (code, out) == (2, []) and "this stage of the run has not begun" in line
