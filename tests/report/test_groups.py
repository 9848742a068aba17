"""Runs that differ only in the seed are one group; labels and slugs tell groups apart."""

import dataclasses
import re

import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.groups import group_runs
from lifeq_jax.runs.read import read_run
from tests.runs.folders import MATRIX, make_run, recipe

WORSE = (np.array(MATRIX) / 2).tolist()


def on_validation(config):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, validation=0.1, evaluate_on="validation"))


@pytest.fixture
def make(tmp_path):
    """make(recipe, matrix) -> a run read from a folder of its own."""
    numbers = iter(range(100))
    return lambda config, matrix=MATRIX: read_run(make_run(tmp_path / str(next(numbers)), config, matrix))


def test_seeds_are_one_group_in_order(make):
    (group,) = group_runs([make(recipe(seed=seed)) for seed in (2, 0, 1)])
    assert [run.recipe.seed for run in group.runs] == [0, 1, 2]
    assert (group.label, group.slug) == ("digits", "digits")


def test_the_best_comes_first_and_what_was_measured_on_validation_images_last(make):
    runs = [
        make(on_validation(recipe("best"))),
        make(recipe("worse"), WORSE),
        make(recipe("better")),
        make(recipe("worse", seed=1), WORSE),
        make(on_validation(recipe("worse")), WORSE),
    ]
    assert [(group.label, len(group.runs)) for group in group_runs(runs)] == [
        ("better", 1),
        ("worse", 2),
        ("best on validation images", 1),
        ("worse on validation images", 1),
    ]


@pytest.mark.parametrize(
    ("second", "labels", "slug"),
    [
        (recipe("b"), {"digits", "b"}, "b"),
        (recipe(method="si"), {"digits (method=ewc)", "digits (method=si)"}, "digits-method=si"),
        (
            recipe(method="ewc", strength=2.0),
            {"digits (method.strength=1.0)", "digits (method.strength=2.0)"},
            "digits-method.strength=2.0",
        ),
        (
            dataclasses.replace(recipe(method="ewc", strength=1.0), loss=Part("x/../y")),
            {"digits (loss=cross_entropy)", "digits (loss=x/../y)"},
            "digits-loss=x-..-y",
        ),
        (
            dataclasses.replace(recipe(method="ewc", strength=1.0), stages=recipe().stages[1:]),
            {"digits (stages.0=float, stages.1=four)", "digits (stages.0=four)"},
            "digits-stages.0=four",
        ),
    ],
)
def test_labels_say_what_differs_and_slugs_are_file_names(make, second, labels, slug):
    groups = group_runs([make(recipe(method="ewc", strength=1.0)), make(second)])
    assert {group.label for group in groups} == labels
    assert slug in {group.slug for group in groups}


def test_slugs_stay_whatever_the_rank_and_are_never_alike(make):
    names = ["a b", "a/b", "A-b", "c", "???", "x" * 300]
    runs = [make(recipe(name)) for name in names]
    slugs = {group.label: group.slug for group in group_runs(runs)}
    better = runs[-1]._replace(matrix=runs[-1].matrix * 1.1)
    assert {group.label: group.slug for group in group_runs([better, *runs[:-1]])} == slugs
    assert len(set(slugs.values())) == 6 and slugs["c"] == "c"
    assert all(re.fullmatch("[a-z0-9=._-]{1,100}", slug) for slug in slugs.values())


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        ([], "no run folder was given; name at least one"),
        ([3, 3], "are runs of one recipe with seed=3; give one of them"),
    ],
)
def test_refuses_no_runs_and_one_seed_twice(make, seeds, line):
    with pytest.raises(Refusal, match=line):
        group_runs([make(recipe(seed=seed)) for seed in seeds])
