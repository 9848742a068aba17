"""Every recipe of the package loads with the settings on record, its network builds, its file says how to run it."""

import ast
import dataclasses
import json
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from lifeq_jax.core import datasets
from lifeq_jax.core.game_recipe import GameRecipe, load_any
from lifeq_jax.core.recipe_file import RECIPES, listed_recipes, load_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl import GAMES
from lifeq_jax.rl.build import World, build_network
from lifeq_jax.rl.heads import game_heads
from lifeq_jax.train.build import build_stage, complete

FILES = sorted(RECIPES.rglob("*.py"))
LISTED = {listed.name: listed for listed in listed_recipes()}
ON_GAMES = [name for name in LISTED if name.startswith("blip_rl/")]
ON_IMAGES = [name for name in LISTED if name not in ON_GAMES]
SETTINGS = json.loads(Path("tests/recipe_settings.json").read_text())


def settings(record):
    """What a recipe sets: its values that are not the schema's defaults, as JSON has them."""
    if isinstance(record, tuple):
        return [settings(item) for item in record]
    if not dataclasses.is_dataclass(record):
        return record
    found = {}
    for item in dataclasses.fields(record):
        value, missing = getattr(record, item.name), dataclasses.MISSING
        default = item.default_factory() if item.default_factory is not missing else item.default
        if value != default:
            found[item.name] = settings(value)
    if "data" in found and "importance_data" not in found:  # what "auto" stands for
        found["importance_data"] = "replay" if record.data.replay else "train"
    return found


@pytest.mark.parametrize("name", LISTED)
def test_settings_are_those_on_record(name):
    """Recipes follow from each other and from constants of data sets; an edit of one must not change another unseen."""
    recipe = load_any(name)
    assert settings(recipe) == SETTINGS[name]
    assert recipe.name == name.replace("/", "_")


def test_every_recipe_is_on_record_and_has_its_line():
    assert LISTED.keys() == SETTINGS.keys()
    assert all(10 < len(listed.line) < 110 and "\n" not in listed.line for listed in LISTED.values())
    for path in FILES:
        targets = [node.targets[0] for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        public = [f"{path.parent.name}/{name}" for name in names if not name.startswith("_")]
        assert public == [name for name, listed in LISTED.items() if listed.path == path]


def test_statistics_of_the_digits_are_theirs():
    from sklearn.datasets import load_digits

    pixels = load_digits().images / 16
    row = datasets.digits(csv="digits", num_tasks=1)
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [*row.mean, *row.std], atol=1e-3)


def built_of(name):
    """All that the last network of a recipe is built of, but the number of classes."""
    recipe = complete(load_recipe(name))
    bits = (recipe.stages[-1].weight_bits, recipe.stages[-1].act_bits)
    quantizers = (recipe.weight_quantizer, recipe.act_quantizer, recipe.quant_setup)
    rest = (recipe.method.name, recipe.oscillation.name, recipe.loss.name)
    return repr((recipe.model, quantizers, bits, recipe.data.crop, recipe.data.image[2], rest))


DIFFERENT = list({built_of(name): name for name in ON_IMAGES}.values())  # building a network takes seconds


@pytest.mark.parametrize("name", DIFFERENT)
def test_recipe_builds_its_last_stage(name):
    """The stages before are the same network at more bits: tests/models/test_models.py has all at 32."""
    recipe = complete(load_recipe(name))
    built = build_stage(recipe, recipe.stages[-1])
    assert any(jax.tree.leaves(built.network.quantized)) == (recipe.stages[-1].weight_bits < 32)


def agent_of(name):
    recipe = load_any(name)
    return repr((recipe.model, recipe.games.names, recipe.games.image))


@pytest.mark.parametrize("name", list({agent_of(name): name for name in ON_GAMES}.values()))
def test_recipe_on_games_fits_its_network(name):
    """Without the games themselves, whose packages need not be installed: as if each had the 18 actions of an Atari."""
    recipe = complete(load_any(name))
    assert isinstance(recipe, GameRecipe)
    number = len(recipe.games.names)
    world = World(recipe.games.names, (None,) * number, game_heads([18] * number))
    net = build_network(recipe, recipe.stages[-1], world)
    assert net.init(0)[0]["classifier"]["dense"]["kernel"].shape[1] == 19 * number
    assert {name.partition("/")[0] for name in recipe.games.names} <= GAMES.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_head_names_command_figure_and_source(path):
    head = ast.get_docstring(ast.parse(path.read_text()))
    assert any(f"lifeq-jax train {name}" in head for name, listed in LISTED.items() if listed.path == path)
    assert "Ours: " in head
    assert "paper" in head.lower() or "published figure" in head.lower()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("lifequant/resnet", "recipe 'lifequant/resnet' is unknown; choose from lifequant/resnet20_cifar100_ll, "),
        ("digits", "recipe 'digits' is unknown; `lifeq-jax recipes` lists"),
        ("two.py", "recipe two.py has several recipes; write two.py:NAME; choose from narrow, wide"),
        ("two.py:_base", "recipe two.py has no recipe '_base'; choose from narrow, wide"),
    ],
)
def test_a_place_without_a_recipe_is_refused_with_the_choices(place, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(
        "from lifeq_jax import Part, load_recipe\n_base = load_recipe('lifequant/resnet20_digits')\n"
        "narrow = _base.replace({'model': Part('resnet20', {'width': 8})})\n"
        "wide = _base.replace({'model': Part('resnet20', {'width': 32})})\n"
    )
    assert load_recipe("two.py:wide").model.args == {"width": 32}
    with pytest.raises(Refusal) as refused:
        load_recipe(place)
    assert str(refused.value).startswith(said)


def test_wheels_contain_the_recipes():
    tool = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = [path for glob in tool["package-data"]["lifeq_jax"] for path in RECIPES.parent.glob(glob)]
    assert sorted(path for path in shipped if path.is_relative_to(RECIPES)) == FILES
