"""CSV files, sequences of them, recipes and run folders' config.json: read or refused in a line, never changed."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from lifeq_jax.core.config import Recipe, read_recipe, to_json
from lifeq_jax.core.recipe_file import RECIPES, load_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.class_counts import write_counts
from lifeq_jax.data.inspect import describe
from lifeq_jax.data.tables import load_tasks, read_image_table, task_csv, write_table
from tests.fuzz.targets import CHANGES, mutated, target, told

TEXT = (RECIPES / "lifequant/digits.py").read_text()
BODY = TEXT.index("resnet20_digits = Recipe(")  # a mutated head would still be a head
RECIPE = load_recipe("lifequant/resnet20_digits")

GOOD = "image,label\ntrain/a/0000.png,0\ntrain/b/0000.png,1\n"
TASKS = {
    "train0": "a/0,0\na/1,0\nb/0,1\n",
    "test0": "t/0,0\nt/1,1\n",
    "replay0": "a/1,0\n",
    "train1": "b/0,1\nc/0,2\n",
    "test1": "t/1,1\nt/2,2\n",
    "replay1": "",
}
NAMES = {"0": "ant", "1": "bee", "2": "cat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@target(changes=CHANGES)
def test_csv(changes, folder):
    path = folder / "mutated.csv"
    content = mutated(GOOD.encode(), changes)
    path.write_bytes(content)
    try:
        table = read_image_table(path, num_classes=2)
    except Refusal as refusal:
        assert "mutated.csv" in told(refusal)
    else:
        assert len(table.path) == len(table.label) > 0 and table.label.dtype == np.int32
        assert set(table.label.tolist()) <= {0, 1}
        assert not any(name.startswith("../") for name in table.path.tolist())
        write_table(folder / "again.csv", table)
        again = read_image_table(folder / "again.csv")
        assert again.path.tolist() == table.path.tolist() and again.label.tolist() == table.label.tolist()
    assert path.read_bytes() == content


@target(
    changes=CHANGES,
    name=st.sampled_from(sorted(TASKS)),
    lost=st.sampled_from([None, None, *sorted(TASKS)]),
    named=st.booleans(),
    numbers=st.sampled_from(
        ["", "", '["ant", "bee", "cat"]', '{"ant": 2, "bee": 0, "cat": 1}', '["ant", "bee"]', "[", "{}"]
    ),
)
def test_sequence(changes, name, lost, named, numbers, folder):
    """What training, `data inspect` and `data count` say of a sequence agrees."""
    root, prefix = folder / "images", folder / "sequence" / "toy"
    shutil.rmtree(prefix.parent, ignore_errors=True)
    prefix.parent.mkdir()
    for kind, rows in TASKS.items():
        if named:
            rows = "".join(f"{row[:-1]}{NAMES[row[-1]]}\n" for row in rows.splitlines())
        text = f"image,label\n{rows}".encode()
        (prefix.parent / f"toy_{kind}.csv").write_bytes(mutated(text, changes) if kind == name else text)
    if numbers:
        (prefix.parent / "classes.json").write_text(numbers)
    if lost:
        (prefix.parent / f"toy_{lost}.csv").unlink()
    for number, image in enumerate(sorted({row.split(",")[0] for rows in TASKS.values() for row in rows.splitlines()})):
        if not (root / image).exists():
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2), number, np.uint8)).save(root / image, format="PNG")
    files = {path.name: path.read_bytes() for path in prefix.parent.iterdir()}

    def answer(call):
        try:
            return call(), None
        except Refusal as refusal:
            return None, told(refusal)

    tasks, refused = answer(lambda: load_tasks(prefix, 2, root=root, num_classes=None, replay=True))
    described, not_described = answer(lambda: describe(prefix, root))
    counted, not_counted = answer(lambda: write_counts(prefix, 2))
    assert (described is None) == (refused is not None) and refused == not_described
    if tasks is not None:
        assert counted and not_counted is None
        counts = json.loads(counted[1].read_text())["counts"]
        assert sum(counts.values()) == len(tasks[1].train.path) + len(tasks[0].replay.path)
    kept = {path.name: path.read_bytes() for path in prefix.parent.iterdir() if not path.name.startswith("reweight")}
    assert kept == files and task_csv(prefix, "train", 0).name == "toy_train0.csv"


@target(changes=CHANGES)
def test_config(changes, folder):
    path = folder / "config.json"
    content = mutated(to_json(RECIPE).encode(), changes)
    path.write_bytes(content)
    try:
        assert isinstance(read_recipe(path), Recipe)
    except Refusal as refusal:
        told(refusal)
    assert path.read_bytes() == content


@target(changes=CHANGES)
def test_recipe(changes, folder):
    path = folder / "recipe.py"
    path.write_bytes(TEXT[:BODY].encode() + mutated(TEXT[BODY:].encode(), changes))
    try:
        assert isinstance(load_recipe(path), Recipe)
    except Refusal as refusal:
        assert str(path) in told(refusal)
