"""Recipe files: Python that defines `recipe`."""

import runpy
import traceback
from pathlib import Path
from typing import Any

from lifeq_jax.core.config import Checked, Recipe
from lifeq_jax.core.own import in_folder
from lifeq_jax.core.refusal import Refusal


def load_recipe(path: str | Path) -> Recipe:
    """The recipe of a recipe file, whose tasks are images. Refuses, naming file and line, whatever goes wrong in it."""
    return run_recipe_file(path, Recipe)


def run_recipe_file(path: str | Path, *kinds: type[Checked]) -> Any:
    """Runs a recipe file and returns its `recipe`, which is one of the `kinds`. Refuses as `load_recipe`."""
    path = Path(path)
    if not path.is_file():
        raise Refusal(f"recipe {path} does not exist; the recipes that come with the project are under configs/")
    try:
        recipe = runpy.run_path(str(path)).get("recipe")
    except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input, and has a line
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [0])[-1]
        text = str(error).splitlines()[0] if str(error) else ""
        raise Refusal(f"recipe {path}, line {line}: {type(error).__name__}: {text}") from error
    if not isinstance(recipe, kinds):
        wanted = " or ".join(f"`recipe = {kind.__name__}(...)`" for kind in kinds)
        raise Refusal(f"recipe {path} does not define {wanted}")
    return in_folder(recipe, path.parent)
