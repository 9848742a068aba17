"""Groups of runs that differ only in the seed."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.config import Checked, Recipe, digest, flatten, to_json
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import average_accuracy
from lifeq_jax.runs.read import Run


class Group(NamedTuple):
    """Runs that differ in nothing but the seed."""

    label: str
    slug: str  # the label as part of a file name, unique among the groups
    runs: tuple[Run, ...]  # sorted by seed


def group_runs(runs: Sequence[Run]) -> tuple[Group, ...]:
    """Groups the runs that differ only in the seed: those measured on test images, then those measured on validation
    images, each sorted by the mean of the average accuracy, best first.

    A group's label is the recipe's name, with the settings that differ if another group has that name too, and with a
    note if it was measured on validation images. Refuses an empty sequence, and a seed that occurs twice in one
    group."""
    if not runs:
        raise Refusal("no run folder was given; name at least one")
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(to_json(dataclasses.replace(run.recipe, seed=0)), []).append(run)
    members = [tuple(sorted(group, key=lambda run: run.recipe.seed)) for group in together.values()]
    for group in members:
        _check_group(group)
    members.sort(key=_rank)
    recipes = [group[0].recipe for group in members]
    labels = _labels(recipes)
    return tuple(Group(*named) for named in zip(labels, slugs(labels, recipes), members, strict=True))


def _rank(group: Sequence[Run]) -> tuple[bool, float]:
    on_validation = group[0].recipe.data.evaluate_on == "validation"
    return on_validation, -float(np.mean([average_accuracy(run.matrix) for run in group]))


def _check_group(group: Sequence[Run]) -> None:
    for one, other in zip(group, group[1:], strict=False):
        if one.recipe.seed == other.recipe.seed:
            same = f"one recipe with seed={one.recipe.seed}"
            raise Refusal(f"{one.folder} and {other.folder} are runs of {same}; give one of them")


MOST_SHOWN = 3  # differences in a label; a plot has no room for more


def _labels(recipes: Sequence[Recipe]) -> list[str]:
    mark = {"test": "", "validation": " on validation images"}
    return told_apart([recipe.name + mark[recipe.data.evaluate_on] for recipe in recipes], recipes)


def told_apart(names: Sequence[str], recipes: Sequence[Checked]) -> list[str]:
    """The names of the recipes, with the settings that differ added to names that occur several times."""
    plain = [_plain(recipe) for recipe in recipes]
    labels = []
    for name, own in zip(names, plain, strict=True):
        namesakes = [other for other, their_name in zip(plain, names, strict=True) if their_name == name]
        counts = {key: _number_of_others(key, own, namesakes) for key in own if key != "seed"}
        telling = sorted((key for key in counts if counts[key]), key=lambda key: -counts[key])
        shown = [f"{key}={own[key]}" for key in telling[:MOST_SHOWN]] + ["..."] * (len(telling) > MOST_SHOWN)
        labels.append(f"{name} ({', '.join(shown)})" if telling else name)
    return labels


def slugs(labels: Sequence[str], recipes: Sequence[Recipe | GameRecipe]) -> list[str]:
    """The labels as parts of file names, made unique by the recipe's digest where two would be equal."""
    found = [re.sub("[^A-Za-z0-9.=_-]+", "-", label).strip("-.")[:80].lower() for label in labels]
    return [
        f"{slug}-{digest(recipe)}" if found.count(slug) > 1 or not slug else slug
        for slug, recipe in zip(found, recipes, strict=True)
    ]


def _number_of_others(key: str, own: dict[str, Any], namesakes: Sequence[dict[str, Any]]) -> int:
    """Number of namesakes with another value. An argument of a part is compared with that of the same part only."""
    part = key.rpartition(".")[0]
    alike = [other for other in namesakes if other.get(part) == own.get(part)]
    return sum(other.get(key) != own[key] for other in alike)


def _plain(recipe: Checked) -> dict[str, Any]:
    """Every setting by its key, `method.name` shortened to `method`, `method.args.x` to `method.x`; the names of games
    are one setting."""
    flat = flatten(dataclasses.asdict(recipe))
    if isinstance(recipe, GameRecipe):
        flat = {key: value for key, value in flat.items() if not key.startswith("games.names.")}
        flat["games.names"] = " + ".join(recipe.games.names)
    return {re.sub(r"\.name$|\.args(?=\.)", "", key): value for key, value in flat.items()}
