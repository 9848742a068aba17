"""Digits in two tasks, a perceptron of eight units, validation images: the smallest job that is real."""

import jax
import pytest

from lifeq_jax.api.train import train
from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.prepare import prepare


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """32 and 8 bits on the first task, then 4 bits over both; an epoch each."""
    root = tmp_path_factory.mktemp("digits")
    prepare(root / "images", "digits", download=False, seed=0)
    make_lifelong(root / "images", root / "tasks", num_tasks=2, diminish_rate=0.5)
    data = Data(
        root=str(root / "images"),
        csv=str(root / "tasks"),
        num_tasks=2,
        num_classes=10,
        image=(8, 8, 1),
        crop=(8, 8),
        pad=0,
        flip=False,
        mean=(0.3,),
        std=(0.37,),
        batch_size=64,
        replay=False,
        validation=0.2,
    )
    return Recipe(
        name="tiny",
        data=data,
        model=Part("mlp", {"hidden": 8}),
        stages=(
            Stage("float", 32, 32, 1, 0.1, tasks=1),
            Stage("w8a8", 8, 8, 1, 0.1, tasks=1),
            Stage("w4a4", 4, 4, 1, 0.1),
        ),
        importance_data="train",
        optimizer=Optimizer(schedule="cosine"),
    )


@pytest.fixture(scope="session")
def folder(recipe, tmp_path_factory):
    """The run folder of that recipe."""
    place = tmp_path_factory.mktemp("runs") / "tiny"
    train(recipe, place, log=lambda line: None)
    return place


@pytest.fixture
def nans_pass():
    """Numbers that are not finite come through, for the run itself to see."""
    with jax.debug_nans(False):
        yield
