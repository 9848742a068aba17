"""Every recipe loads, its parts exist, its network builds, and its head says what a reader needs."""

import ast
from pathlib import Path

import jax
import pytest

from lifeq_jax.core.config import load_recipe
from lifeq_jax.train.build import build_stage, complete

RECIPES = sorted(Path("configs").rglob("*.py"))


def test_there_are_recipes():
    assert len(RECIPES) >= 9


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_builds_every_stage(path):
    recipe = complete(load_recipe(path))
    for stage in recipe.stages:
        built = build_stage(recipe, stage)
        assert sum(jax.tree.leaves(built.network.quantized)) == 0 if stage.weight_bits == 32 else True
        assert any(jax.tree.leaves(built.network.quantized)) == (stage.weight_bits < 32)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_head_names_command_figure_and_source(path):
    head = ast.get_docstring(ast.parse(path.read_text()))
    assert f"lifeq-jax train {path}" in head
    assert "Ours: " in head
    assert "paper" in head.lower() or "published figure" in head.lower()
