"""The cells of a sweep: the recipe of each, and the stages that several of them share."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lifeq_jax.core.config import Part, Recipe, digest, kind_of
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.own import is_own
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.build import compile_stage, make_world
from lifeq_jax.train.build import build_method, build_stage, complete

ParamGrid = Mapping[str, Sequence[Any]]  # several, in a list, as of scikit-learn's ParameterGrid


class GridPoint(NamedTuple):
    """One combination of the grid's values."""

    varied: dict[str, Any]  # every key of the grids -> its value: a number or text, 'ewc(strength=10.0)' for a Part
    recipe: Recipe | GameRecipe
    trunks: tuple[Recipe, ...]  # recipes of first stages shared with other cells, fewest stages first


def make_cells(recipe: Recipe | GameRecipe, grid: ParamGrid | Sequence[ParamGrid], on: str | None) -> list[GridPoint]:
    """The cells of a grid, the last key varying fastest, or of several grids one after the other; their recipes are
    complete, and those of images measured `on` these, by default validation images.

    Raises:
        Refusal: names the key of the grid that is unknown or has a wrong value, or no images are held out, or games are
            to be measured on images."""
    chosen = [
        values for one in ([grid] if isinstance(grid, Mapping) else grid) for values in _combinations(recipe, one)
    ]
    recipes = [_measured(recipe.replace(values), on) for values in chosen]
    for one in recipes:  # refuses arguments out of range before hours of training
        if isinstance(one, GameRecipe):
            compile_stage(one, -1, make_world(one))
        else:
            build_stage(one, one.stages[-1])
    repeated = [name for name, count in Counter(map(digest, recipes)).items() if count > 1]
    if repeated:
        twice = next(values for values, one in zip(chosen, recipes, strict=True) if digest(one) == repeated[0])
        raise Refusal(f"the grid has one recipe twice: {_shown(twice)}")
    keys = dict.fromkeys(key for values in chosen for key in values)
    varied = [
        _shown({key: kind_of(one, key)[1] for key in keys} | values)
        for values, one in zip(chosen, recipes, strict=True)
    ]
    shared = shared_trunks([one for one in recipes if isinstance(one, Recipe)]) or [()] * len(recipes)
    return [GridPoint(*parts) for parts in zip(varied, recipes, shared, strict=True)]


def _combinations(recipe: Recipe | GameRecipe, grid: ParamGrid) -> list[dict[str, Any]]:
    for key, values in grid.items():
        if isinstance(values, str) or not len(values):
            raise Refusal(f"grid {key!r} is {values!r}; give a list of values")
    choices = [[(key, value_of(recipe, key, value)) for value in values] for key, values in grid.items()]
    return [dict(pairs) for pairs in itertools.product(*choices)]


def shared_trunks(recipes: Sequence[Recipe]) -> list[tuple[Recipe, ...]]:
    """For each recipe, its trunks, `trunk(recipe, n)`, that it shares with other recipes."""
    chains = [[trunk(recipe, number) for number in range(1, len(recipe.stages))] for recipe in recipes]
    users = Counter(digest(one) for chain in chains for one in chain)

    def kept(chain: list[Recipe]) -> tuple[Recipe, ...]:
        counts = [*(users[digest(one)] for one in chain), 1]
        return tuple(one for one, own, longer in zip(chain, counts, counts[1:], strict=False) if own > longer)

    return [kept(chain) for chain in chains]


def trunk(recipe: Recipe, number: int) -> Recipe:
    """The recipe of the first `number` stages. Two recipes share these stages if their trunks are equal, i.e. if all
    settings but later stages are, and the method if it matters.

    The method does not matter if each of the stages trains one task and the method is a row of METHODS that
    `is_idle_at_first`; the trunk then has the method finetune."""
    stages = recipe.stages[:number]
    is_alone = all((stage.tasks or recipe.data.num_tasks) == 1 for stage in stages)
    is_idle = not is_own(recipe.method.name) and build_method(recipe).is_idle_at_first
    method = Part("finetune") if is_alone and is_idle else recipe.method
    return dataclasses.replace(recipe, stages=stages, method=method)


def value_of(recipe: Recipe | GameRecipe, key: str, value: Any) -> Any:
    """The value for a key of the recipe; a Part may also be given as its name, or as (name, arguments)."""
    if kind_of(recipe, key)[0] is not Part:
        return value
    if isinstance(value, str):
        return Part(value)
    return Part(*value) if isinstance(value, tuple) else value


def _measured(recipe: Recipe | GameRecipe, on: str | None) -> Recipe | GameRecipe:
    if isinstance(recipe, GameRecipe):
        if on is not None:
            raise Refusal(f"on={on!r} chooses images, and games have none; choose the seeds instead")
        return complete(recipe)
    on = on or "validation"
    if on == "validation" and recipe.data.validation == 0:
        raise Refusal(
            "data.validation=0.0 holds no training images out, and a sweep is measured on them; set data.validation, "
            "to 0.2 say, or choose on='test'"
        )
    return complete(recipe.replace({"data.evaluate_on": on}))


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _text(value) if isinstance(value, Part) else value for key, value in values.items()}


def _text(part: Part) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in part.args.items())
    return f"{part.name}({arguments})" if arguments else part.name
