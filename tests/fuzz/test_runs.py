"""Run folders with one damaged file: the run ends as it would have ended, or one line names what is wrong."""

import shutil

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from lifeq_jax.api.runs import read
from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.run import run_recipe
from tests.fuzz.targets import CHANGES, mutated, target, told
from tests.train.jobs import silent, stopping
from tests.train.killed_runs import checkpointed, metrics

ROWS = ("per_class.csv", "layers.csv", "weight_distance.csv")


def made_recipe(root):
    """Two tasks of 16 images of noise, a perceptron of four units, a second of training."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 4, 4), np.uint8)
    for number, pixels in enumerate(noise):
        path = root / f"images/train/{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for task in (0, 1):
        rows = "".join(f"train/{number % 2}/{number}.png,{number % 2}\n" for number in range(16 * task, 16 * task + 16))
        for kind in ("train", "test"):
            (root / f"tasks_{kind}{task}.csv").write_text(f"image,label\n{rows}")
    data = Data(
        root=str(root / "images"), csv=str(root / "tasks"), num_tasks=2, num_classes=2, image=(4, 4, 1), crop=(4, 4),
        pad=0, flip=False, mean=(0.5,), std=(0.3,), batch_size=8, replay=False, input="resident",
    )  # fmt: skip
    return Recipe("fuzz", data, Part("mlp", {"hidden": 4}), (Stage("w4", 4, 4, 2, 0.1),), method=Part("ewc"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(recipe, folder with the finished run `whole` and with `half`, which was stopped in its second task)."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = made_recipe(folder)
    run_recipe(recipe, folder / "whole", silent)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, folder / "half", silent, watch=stopping("checkpoint", 3))
    return recipe, folder


def damaged(source, target, share, kind, changes):
    """Copies a run folder and damages one of its files, at a share of their list."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
    path = files[int(share * len(files))]
    twins = [other for other in files if other.name == path.name and other != path]
    if kind == "lost":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "swapped" and twins:
        path.write_bytes(twins[0].read_bytes())
    elif kind == "rows" and path.suffix == ".csv":
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1] if len(changes) % 2 else [*lines, lines[-1]]))
    else:
        path.write_bytes(mutated(path.read_bytes(), changes))


DAMAGE = {
    "share": st.floats(0, 1, exclude_max=True),
    "kind": st.sampled_from(["lost", "empty", "swapped", "rows", "bytes", "bytes"]),
    "changes": CHANGES,
}


@target(rarely=5, **DAMAGE)
def test_stopped_run(share, kind, changes, runs):
    recipe, folder = runs
    run, whole = folder / "damaged", folder / "whole"
    damaged(folder / "half", run, share, kind, changes)
    try:
        run_recipe(recipe, run, silent)
    except Refusal as refusal:
        told(refusal)
        return
    assert metrics(run) == metrics(whole)
    for name in ROWS:
        assert (run / name).read_text() == (whole / name).read_text()
    ours, wanted = checkpointed(run, "w4"), checkpointed(whole, "w4")
    assert ours.keys() == wanted.keys() and all((ours[name] == wanted[name]).all() for name in wanted)


@target(**DAMAGE)
def test_finished_run(share, kind, changes, runs):
    recipe, folder = runs
    run = folder / "damaged"
    damaged(folder / "whole", run, share, kind, changes)
    for job in (lambda: run_recipe(recipe, run, silent), lambda: read(run).table()):
        try:
            assert job()
        except Refusal as refusal:
            told(refusal)
