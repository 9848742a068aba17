"""Every recipe loads, its parts exist, its network builds, and its head says what a reader needs."""

import ast
from pathlib import Path

import jax
import pytest

from lifeq_jax.core.config import load_recipe
from lifeq_jax.train.build import build_stage, complete

RECIPES = sorted(Path("configs").rglob("*.py"))


def test_there_are_recipes():
    assert {path.parent.name for path in RECIPES} == {"blip", "climbq", "lifequant", "oscillations"}


def built_of(path):
    """All that the networks of a recipe are built of, but the number of classes."""
    recipe = complete(load_recipe(path))
    bits = [(stage.weight_bits, stage.act_bits) for stage in recipe.stages]
    quantizers = (recipe.weight_quantizer, recipe.act_quantizer, recipe.quant_setup)
    rest = (recipe.method.name, recipe.oscillation.name, recipe.loss.name)
    return repr((recipe.model, quantizers, bits, recipe.data.crop, recipe.data.image[2], rest))


DIFFERENT = list({built_of(path): path for path in RECIPES}.values())  # building a network takes seconds


@pytest.mark.parametrize("path", DIFFERENT, ids=lambda path: path.stem)
def test_recipe_builds_every_stage(path):
    recipe = complete(load_recipe(path))
    for stage in recipe.stages:
        built = build_stage(recipe, stage)
        assert any(jax.tree.leaves(built.network.quantized)) == (stage.weight_bits < 32)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_head_names_command_figure_and_source(path):
    head = ast.get_docstring(ast.parse(path.read_text()))
    assert f"lifeq-jax train {path}" in head
    assert "Ours: " in head
    assert "paper" in head.lower() or "published figure" in head.lower()


@pytest.mark.parametrize("path", [path for path in RECIPES if path.parent.name == "climbq"], ids=lambda path: path.stem)
def test_climbq_trains_one_task_first_in_float(path):
    recipe = complete(load_recipe(path))
    assert (recipe.data.num_tasks, recipe.data.replay) == (1, False)
    bits = [(stage.weight_bits, stage.act_bits) for stage in recipe.stages]
    assert bits == ([(4, 4)] if recipe.start else [(32, 32), (4, 4)])
    assert (recipe.weight_quantizer.name, recipe.act_quantizer.name) == ("cdf", "cdf_activation")
    assert recipe.loss.name == "homovar"
