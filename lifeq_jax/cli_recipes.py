"""The command `lifeq-jax recipes`: which recipes come with the package, and where their files are."""

import argparse
from itertools import groupby

from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.recipe_file import listed_recipes


def add_recipes(commands) -> None:
    """Adds the command."""
    recipes = add_command(commands, "recipes", _recipes, "list the recipes that come with the package, a line each")
    recipes.add_argument("word", nargs="?", default="", help="only those whose line has this word, as digits or BLIP")
    recipes.epilog = (
        "example: lifeq-jax recipes digits\n"
        "The head of a file says how its data is made and where its settings come from. Train one by its name, "
        "lifeq-jax train lifequant/resnet20_digits, or copy its file and train that: lifeq-jax train my.py:my_recipe."
    )


def _recipes(options: argparse.Namespace) -> None:
    found = listed_recipes()
    width = max(len(recipe.name) for recipe in found)
    lines = [(recipe.path, f"  {recipe.name:{width}s}  {recipe.line}") for recipe in found]
    for path, group in groupby(
        (item for item in lines if options.word.lower() in item[1].lower()), lambda item: item[0]
    ):
        print(path)
        for _, line in group:
            print(line)
