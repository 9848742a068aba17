"""Runs that differ only in the seed are one group; labels tell groups apart."""

import dataclasses

import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.runs import read_run
from tests.report.folders import MATRIX, recipe, write_run


@pytest.fixture
def make(tmp_path):
    """make(recipe, matrix) -> a run read from a folder of its own."""
    numbers = iter(range(100))
    return lambda config, matrix=MATRIX: read_run(write_run(tmp_path / str(next(numbers)), config, matrix))


def test_seeds_are_one_group_in_order(make):
    (group,) = group_runs([make(recipe(seed=seed)) for seed in (2, 0, 1)])
    assert [run.recipe.seed for run in group.runs] == [0, 1, 2]
    assert group.label == "digits"


def test_best_average_accuracy_comes_first(make):
    worse = (np.array(MATRIX) / 2).tolist()
    runs = [make(recipe("worse"), worse), make(recipe("better")), make(recipe("worse", seed=1), worse)]
    assert [(group.label, len(group.runs)) for group in group_runs(runs)] == [("better", 1), ("worse", 2)]


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        (recipe("a"), recipe("b"), {"a", "b"}),
        (recipe(), recipe(method="ewc"), {"digits (method=finetune)", "digits (method=ewc)"}),
        (
            recipe(method="ewc", strength=1.0),
            recipe(method="ewc", strength=2.0),
            {"digits (method.strength=1.0)", "digits (method.strength=2.0)"},
        ),
        (
            recipe(),
            dataclasses.replace(recipe(), loss=Part("x")),
            {"digits (loss=cross_entropy)", "digits (loss=x)"},
        ),
        (
            recipe(),
            dataclasses.replace(recipe(), stages=recipe().stages[1:]),
            {"digits (stages.0=float, stages.1=four)", "digits (stages.0=four)"},
        ),
    ],
)
def test_labels_say_what_differs(make, first, second, labels):
    assert {group.label for group in group_runs([make(first), make(second)])} == labels


def test_refuses_no_runs():
    with pytest.raises(Refusal, match="no run folder was given; name at least one"):
        group_runs([])


def test_refuses_one_seed_twice(make):
    with pytest.raises(Refusal, match=r"are runs of one recipe with seed=3; give one of them"):
        group_runs([make(recipe(seed=3)), make(recipe(seed=3))])


def test_refuses_unequal_task_counts(make):
    with pytest.raises(Refusal, match="has 3 tasks and .* has 2, but their recipes say the same"):
        group_runs([make(recipe()), make(recipe(seed=1), [[0.5, 0.5], [0.5, 0.5]])])
