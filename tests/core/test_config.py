"""The schema refuses what it should, in one line, and survives a round trip through JSON."""

import dataclasses

import pytest

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage, read_recipe, to_json
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.core.refusal import Refusal

DATA = Data("images", "tasks", 3, 10, (8, 8, 1), (8, 8), 1, False, (0.3,), (0.4,))
RECIPE = Recipe("r", DATA, Part("resnet20", {"width": 8}), (Stage("a", 32, 32, 1, 0.1, 1), Stage("b", 4, 4, 2, 0.1)))


def test_json_round_trip(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(RECIPE))
    assert read_recipe(path) == RECIPE


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: dataclasses.replace(DATA, num_classes=1),
            "data.num_classes=1 is out of range; choose from 2 to 1e+06",
        ),
        (lambda: dataclasses.replace(DATA, batch_size="8"), "data.batch_size='8' is not of type int"),
        (lambda: dataclasses.replace(DATA, batch_size=True), "data.batch_size=True is not of type int"),
        (lambda: dataclasses.replace(DATA, input="disk"), "data.input='disk' is not of type Literal"),
        (lambda: dataclasses.replace(DATA, crop=(11, 8)), "data.crop=(11, 8) is larger than the images (8, 8)"),
        (lambda: dataclasses.replace(DATA, mean=(0.1, 0.2)), "need 1 values, one a channel"),
        (lambda: dataclasses.replace(DATA, evaluate_on="validation"), "needs data.validation above 0"),
        (lambda: Stage("a", 9, 4, 1, 0.1), "stage.weight_bits=9 is not a bit-width; choose from 1 to 8, or 32"),
        (lambda: Stage("a", 4, 0, 1, 0.1), "stage.act_bits=0 is not a bit-width; choose from 1 to 8, or 32"),
        (lambda: Stage("../a", 4, 4, 1, 0.1), "stage.name='../a' names a folder"),
        (lambda: Stage("a", 4, 4, 0, 0.1), "stage.epochs=0 is out of range"),
        (lambda: Stage("a", 4, 4, 1, float("nan")), "stage.learning_rate=nan is not of type float"),
        (lambda: Optimizer(schedule="staircase"), "optimizer.schedule='staircase' is not of type Literal"),
        (lambda: Optimizer(max_norm=-1.0), "optimizer.max_norm=-1.0 is out of range; choose from 0 to 1e+09"),
        (lambda: dataclasses.replace(RECIPE, stages=()), "recipe.stages=() is empty"),
        (lambda: dataclasses.replace(RECIPE, stages=(RECIPE.stages[0],) * 2), "repeated names: a, a"),
        (lambda: dataclasses.replace(RECIPE, stages=(Stage("a", 4, 4, 1, 0.1, 4),)), "exceeds data.num_tasks=3"),
        (lambda: dataclasses.replace(RECIPE, selection="best"), "test data never selects"),
        (lambda: dataclasses.replace(RECIPE, seed=-1), "recipe.seed=-1 is out of range"),
    ],
)
def test_refusals_name_key_value_and_choices(make, text):
    with pytest.raises(Refusal) as caught:
        make()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import nothing_like_it", "line 1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("x = 1\nrecipe = Recipe(", "line 2: SyntaxError"),
        ("x = 1\n\0", "recipe.py: SyntaxError: source code string cannot contain null bytes"),
        ("x = 1", "does not define `recipe = Recipe(...)`"),
        ("\n\n1 / 0", "line 3: ZeroDivisionError: division by zero"),
        ("from lifeq_jax.core.config import Stage\nStage('a', 4, 4, 1)", "missing 1 required positional argument"),
        ("from lifeq_jax.core.config import Stage\nStage('a', 4, 4, 1, lrr=1)", "unexpected keyword argument 'lrr'"),
    ],
)
def test_a_broken_recipe_file_is_refused_with_its_line(tmp_path, source, text):
    path = tmp_path / "recipe.py"
    path.write_text(source)
    with pytest.raises(Refusal) as caught:
        load_recipe(path)
    assert text in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_recipe_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="does not exist"):
        load_recipe(tmp_path / "none.py")
