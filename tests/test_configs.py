"""Every recipe loads, its parts exist, its network builds, and its head says what a reader needs."""

import ast
from pathlib import Path

import jax
import pytest

from lifeq_jax.core.game_recipe import GameRecipe, load_any
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.rl import GAMES
from lifeq_jax.rl.build import World, build_network
from lifeq_jax.rl.heads import heads_of
from lifeq_jax.train.build import build_stage, complete

ALL = sorted(Path("configs").rglob("*.py"))
ON_GAMES = sorted(Path("configs/blip_rl").glob("*.py"))
RECIPES = [path for path in ALL if path not in ON_GAMES]


def test_there_are_recipes():
    assert {path.parent.name for path in ALL} == {"blip", "blip_rl", "climbq", "lifequant", "oscillations"}


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


@pytest.mark.parametrize("path", ON_GAMES, ids=lambda path: path.stem)
def test_recipe_on_games_fits_its_network(path):
    """Without the games themselves, whose packages need not be installed: as if each had the 18 actions of an Atari."""
    recipe = complete(load_any(path))
    assert isinstance(recipe, GameRecipe)
    number = len(recipe.games.names)
    world = World(recipe.games.names, (None,) * number, heads_of([18] * number))
    net = build_network(recipe, recipe.stages[-1], world)
    assert net.init(0)[0]["classifier"]["dense"]["kernel"].shape[1] == 19 * number
    assert {name.partition("/")[0] for name in recipe.games.names} <= GAMES.keys()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
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
