"""Recipe files: Python that defines recipes, and those that come with the package.

A recipe is asked for by its file, `my.py` where it has one, `my.py:wide` where it has several; or, of the package's
own, by name: `lifequant/resnet20_digits` is that recipe of a file in recipes/lifequant."""

import ast
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifeq_jax.core.config import Checked, Recipe
from lifeq_jax.core.own import in_folder, told
from lifeq_jax.core.refusal import Refusal

RECIPES = Path(__file__).parents[1] / "recipes"


def load_recipe(place: str | Path) -> Recipe:
    """The recipe at a place, whose tasks are images.

    Args:
        place: a recipe of the package, as `lifequant/resnet20_digits`, or a file, as `my.py` where it has one recipe,
            `my.py:wide` where it has several. Functions that its parts name are looked up in its folder first.

    Raises:
        Refusal: there is no such recipe or file, or running it fails (the message names the line).

    Example:
        >>> lq.load_recipe("lifequant/resnet20_digits").model.name
        'resnet20'
    """
    return find_recipe(place, Recipe)


def find_recipe(place: str | Path, *kinds: type[Checked]) -> Any:
    """The recipe at a place, which is one of the `kinds`. Refuses as `load_recipe`."""
    file, name = str(place), ""
    if not file.endswith(".py"):
        file, _, name = file.rpartition(".py:")
        file += ".py" * bool(file)
    if not file:
        own = {listed.name: listed for listed in listed_recipes()}
        if str(place) not in own:
            raise Refusal(f"recipe {str(place)!r} is unknown; {_choices(str(place), list(own))}")
        file, name = str(own[str(place)].path), str(place).rpartition("/")[2]
    found = {key: item for key, item in _run(Path(file)).items() if isinstance(item, kinds) and key[0] != "_"}
    return in_folder(_chosen(found, Path(file), name, kinds), Path(file).parent)


def _choices(place: str, names: list[str]) -> str:
    folder = place.rpartition("/")[0]
    near = [name for name in names if name.startswith(f"{folder}/")]
    if near:
        return f"choose from {', '.join(near)}"
    return "`lifeq-jax recipes` lists the package's own, and a file of yours ends in .py"


def _chosen(found: dict[str, Any], path: Path, name: str, kinds: tuple[type[Checked], ...]) -> Any:
    if not found:
        wanted = " or ".join(f"`recipe = {kind.__name__}(...)`" for kind in kinds)
        raise Refusal(f"recipe {path} does not define {wanted}")
    name = name or ("recipe" if "recipe" in found else next(iter(found)) if len(found) == 1 else "")
    if name not in found:
        said = f"has no recipe {name!r}" if name else f"has several recipes; write {path}:NAME"
        raise Refusal(f"recipe {path} {said}; choose from {', '.join(found)}")
    return found[name]


def _run(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Refusal(f"recipe {path} does not exist; `lifeq-jax recipes` lists the package's own")
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input, and has a line
        raise Refusal(f"recipe {path}{told(error, path)}") from error


@dataclass(frozen=True)
class Listed:
    """A recipe of the package."""

    name: str
    """What it is asked for by: folder/variable."""
    path: Path
    """Its file."""
    line: str
    """What it is, in one line: the text below the variable."""


def listed_recipes() -> list[Listed]:
    """The recipes of the package, read without running their files."""
    found = []
    for path in sorted(RECIPES.rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for statement, text in zip(body, body[1:], strict=False):
            match statement, text:
                case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(line))):
                    found.append(Listed(f"{path.parent.name}/{name}", path, line))
    return found
