"""`lifeq-jax start`: from folders as people have them to recipes that train as they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.cli import main
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.train.world import read_sequence


def images(folder, count, size, color=True, seed=0):
    """`count` images of `size` (width, height), a little larger with each."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        shape = (size[1] + number, size[0], 3)
        pixels = random.integers(0, 256, shape if color else (size[1], size[0]))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def started(capsys, *words):
    """(exit code, lines on stdout, lines on stderr)"""
    code = main(["start", *map(str, words)])
    out, error = capsys.readouterr()
    return code, out.splitlines(), error.splitlines()


@pytest.fixture
def photos(tmp_path):
    for seed, name in enumerate(("bird", "cat", "dog", "fish")):
        images(tmp_path / "My Photos" / name, 6, (40, 24), seed=seed)
    return tmp_path / "My Photos"


def test_class_folders_become_a_recipe(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, lines, error = started(capsys, photos)
    assert (code, error) == (0, [])
    assert lines[:2] == [
        f"{photos}: 24 images in <class>/<file>, 24x40 to 29x40 pixels",
        "classes: bird 6, cat 6, dog 6, fish 6",
    ]
    path = Path("data/my_photos_started/recipe.py")
    assert lines[-3:] == [
        f"  lifeq-jax train {path}",
        "  lifeq-jax export runs/my_photos/seed0",
        "  lifeq-jax predict runs/my_photos/seed0/export/w4a4 IMAGE...",
    ]
    recipe = load_recipe(path)
    data = recipe.data
    assert (data.classes, data.num_tasks, data.image) == (("bird", "cat", "dog", "fish"), 1, (16, 16, 3))
    ((task,), _) = read_sequence(recipe, Path(data.root))
    assert (len(task.train.path), len(task.test.path)) == (20, 4)
    pixels = np.stack([np.asarray(Image.open(Path(data.root) / name)) for name in task.train.path]) / 255
    np.testing.assert_allclose(data.mean, pixels.mean(axis=(0, 1, 2)), atol=6e-4)
    np.testing.assert_allclose(data.std, pixels.std(axis=(0, 1, 2)), atol=6e-4)
    assert [stage.name for stage in recipe.stages] == ["float", "w8a8", "w4a4"]

    assert started(capsys, photos)[0] == 0  # once more: all is there
    path.write_text(path.read_text().replace("flip=False", "flip=True"))
    code, _, (line,) = started(capsys, photos)
    assert code == 2 and f"{path} is there and is another" in line


def test_classes_are_divided_among_tasks(photos, tmp_path, capsys):
    assert started(capsys, photos, "--tasks", 2, "--size", 8, "--out", tmp_path / "out")[0] == 0
    recipe = load_recipe(tmp_path / "out" / "recipe.py")
    assert (recipe.data.num_tasks, recipe.data.replay, recipe.method.name) == (2, True, "lifequant")
    tasks, _ = read_sequence(recipe, Path(recipe.data.root))
    labels = [set(task.train.label.tolist()) for task in tasks]
    assert [len(found) for found in labels] == [2, 2] and set.union(*labels) == {0, 1, 2, 3}
    assert all(task.replay is not None and len(task.replay.path) for task in tasks[:1])


def test_tasks_of_a_single_class_are_told(photos, tmp_path, capsys):
    code, lines, _ = started(capsys, photos, "--tasks", 4, "--out", tmp_path / "out")
    told = {f"tasks 0, 1, 2, 3 have a single class in {split}" for split in ("train", "test")}
    assert code == 0 and told <= set(lines)


def test_folders_of_tasks_and_gray_images(tmp_path, capsys):
    for task in ("sketch", "print"):
        for name in ("a", "b"):
            images(tmp_path / "letters" / task / name, 5, (8, 8), color=False, seed=len(task + name))
    code, lines, _ = started(capsys, tmp_path / "letters", "--out", tmp_path / "out")
    assert code == 0 and "20 images in <task>/<class>/<file>, 8x8 pixels" in lines[0]
    recipe = load_recipe(tmp_path / "out" / "recipe.py")
    assert (recipe.data.num_tasks, recipe.data.num_classes, recipe.data.image) == (2, 2, (8, 8, 1))
    tasks, _ = read_sequence(recipe, Path(recipe.data.root))
    assert {name.split("/")[1] for name in tasks[0].train.path.tolist()} == {"print"}
    code, _, (line,) = started(capsys, tmp_path / "letters", "--tasks", 3, "--out", tmp_path / "out")
    assert code == 2 and "--tasks 3" in line and "has the tasks print, sketch" in line


def test_splits_that_are_there_stay(tmp_path, capsys):
    for split, count in (("train", 4), ("test", 2)):
        for name in ("a", "b"):
            images(tmp_path / "set" / split / name, count, (8, 8), color=False, seed=count)
    assert started(capsys, tmp_path / "set", "--out", tmp_path / "out")[0] == 0
    recipe = load_recipe(tmp_path / "out" / "recipe.py")
    ((task,), _) = read_sequence(recipe, Path(recipe.data.root))
    assert (len(task.train.path), len(task.test.path)) == (8, 4)


def test_refused_folders(photos, tmp_path, capsys):
    def refusal(*words):
        code, _, (line,) = started(capsys, *words)
        assert code == 2
        return line

    assert "choose another --out" in refusal(photos, "--out", photos / "out")
    assert "has no images" in refusal(tmp_path / "nothing")
    assert "num_tasks=9" in refusal(photos, "--tasks", 9, "--out", tmp_path / "out")
    images(photos / "train" / "bird", 2, (8, 8))
    assert "is in no split, and others are in train" in refusal(photos, "--out", tmp_path / "out")
    (tmp_path / "flat").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "flat" / "a.png")
    assert "a.png is not in a class folder" in refusal(tmp_path / "flat")
