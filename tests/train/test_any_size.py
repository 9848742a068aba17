"""A run on images of any size, ImageNet's way: random-resized crops in training, center crops in evaluation."""

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes, red and blue, as JPEGs of odd sizes, some of them gray or CMYK."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for color, channel in (("red", 0), ("blue", 2)):
            folder = root / "images" / split / color
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(17, 60, 2)
                pixels = random.integers(0, 90, (height, width, 3), np.uint8)
                pixels[..., channel] += 160
                mode = "CMYK" if number == 0 else "RGB"
                Image.fromarray(pixels).convert(mode).save(folder / f"{number}.jpg")
    make_lifelong(root / "images", root / "tasks", num_tasks=1, diminish_rate=1.0)
    return root


def recipe(photos, **data) -> Recipe:
    given = dict(mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=8, resize="random_resized_crop", replay=False)
    where = (str(photos / "images"), str(photos / "tasks"), 1, 2, (20, 20, 3), (16, 16), 0, True)
    return Recipe(
        name="photos",
        data=Data(*where, **{**given, **data}),
        model=Part("tests.train.jobs:one_block", {"width": 4}),
        stages=(Stage("w4a4", 4, 4, 4, 0.1),),
        importance_data="train",
    )


def test_it_trains_and_evaluates(photos, tmp_path):
    summary = run_recipe(recipe(photos), tmp_path / "run", log=lambda line: None)
    assert summary["metrics"]["average_accuracy"] > 0.9
    found = evaluate_run(tmp_path / "run", photos / "tasks_test0.csv")
    assert found.images == 16 and found.accuracy == summary["metrics"]["average_accuracy"]


def test_the_resident_input_is_refused(photos, tmp_path):
    with pytest.raises(Refusal, match="resident"):
        run_recipe(recipe(photos, input="resident"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
