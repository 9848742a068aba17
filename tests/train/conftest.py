"""Small real jobs: scikit-learn's digits, a ResNet of one block, an epoch or two."""

import dataclasses

import pytest

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.prepare import prepare
from lifeq_jax.data.replay import make_replay
from tests.train.jobs import an_eighth


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Folder with the digits' images and the CSV files of 3 lifelong tasks, <folder>/tasks_*.csv."""
    root = tmp_path_factory.mktemp("digits")
    prepare(root / "images", "digits", download=False, seed=0)
    make_lifelong(root / "images", root / "tasks", num_tasks=3, diminish_rate=0.25)
    make_replay(root / "tasks", num_tasks=3, rate=0.2)
    return root


@pytest.fixture(scope="session")
def few(digits, tmp_path_factory):
    """data.csv of the same tasks with every eighth image or so: to read them all takes half of a short run's time."""
    return an_eighth(digits / "tasks", tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="session")
def recipe(digits, few):
    """A float stage on the first task, then 4 bits over all three; 2 epochs each. It learns little from `few` images:
    a test that asks for accuracy takes all of `digits`."""
    data = Data(
        root=str(digits / "images"),
        csv=few,
        num_tasks=3,
        num_classes=10,
        image=(8, 8, 1),
        crop=(8, 8),
        pad=1,
        flip=False,
        mean=(0.3,),
        std=(0.37,),
        batch_size=32,
    )
    return Recipe(
        name="tiny",
        data=data,
        model=Part("tests.train.jobs:one_block", {"width": 16}),
        stages=(Stage("float", 32, 32, 2, 0.1, tasks=1), Stage("w4a4", 4, 4, 2, 0.1)),
        loss=Part("ball_log_prior"),
        method=Part("lifequant", {"strength": 1.0}),
        optimizer=Optimizer(schedule="cosine"),
    )


@pytest.fixture(scope="session")
def changed():
    """changed(recipe, data=dict(...), **fields) -> a recipe with some values replaced."""

    def change(recipe: Recipe, data: dict | None = None, **fields) -> Recipe:
        return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **(data or {})), **fields)

    return change
