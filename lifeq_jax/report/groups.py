"""Runs of one recipe, put together over their seeds."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.config import Recipe, to_json
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import average_accuracy
from lifeq_jax.report.runs import Run


class Group(NamedTuple):
    """Runs that differ in nothing but the seed."""

    label: str
    runs: tuple[Run, ...]  # sorted by seed


def group_runs(runs: Sequence[Run]) -> tuple[Group, ...]:
    """Groups the runs of one recipe, whatever the seed; best mean of the average accuracy first.

    A group is labelled with the recipe's name and, where another group has that name too, with what differs.
    Refuses no runs at all, groups of different numbers of tasks, and a seed that occurs twice in one
    group."""
    if not runs:
        raise Refusal("no run folder was given; name at least one")
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(to_json(dataclasses.replace(run.recipe, seed=0)), []).append(run)
    members = [tuple(sorted(group, key=lambda run: run.recipe.seed)) for group in together.values()]
    for group in members:
        _check_group(group)
    members.sort(key=lambda group: -float(np.mean([average_accuracy(run.matrix) for run in group])))
    labels = _labels([group[0].recipe for group in members])
    return tuple(Group(label, group) for label, group in zip(labels, members, strict=True))


def _check_group(group: Sequence[Run]) -> None:
    for one, other in zip(group, group[1:], strict=False):
        if one.recipe.seed == other.recipe.seed:
            same = f"one recipe with seed={one.recipe.seed}"
            raise Refusal(f"{one.folder} and {other.folder} are runs of {same}; give one of them")
        if one.matrix.shape != other.matrix.shape:
            raise Refusal(
                f"{one.folder} has {len(one.matrix)} tasks and {other.folder} has {len(other.matrix)}, "
                "but their recipes say the same"
            )


MOST_SHOWN = 3  # differences in a label; a plot has no room for more


def _labels(recipes: Sequence[Recipe]) -> list[str]:
    names = [recipe.name for recipe in recipes]
    plain = [_flatten(dataclasses.asdict(recipe)) for recipe in recipes]
    labels = []
    for name, own in zip(names, plain, strict=True):
        namesakes = [other for other, their_name in zip(plain, names, strict=True) if their_name == name]
        counts = {key: _number_of_others(key, own, namesakes) for key in own if key != "seed"}
        telling = sorted((key for key in counts if counts[key]), key=lambda key: -counts[key])
        shown = [f"{key}={own[key]}" for key in telling[:MOST_SHOWN]] + ["..."] * (len(telling) > MOST_SHOWN)
        labels.append(f"{name} ({', '.join(shown)})" if telling else name)
    return labels


def _number_of_others(key: str, own: dict[str, Any], namesakes: Sequence[dict[str, Any]]) -> int:
    """How many namesakes have another value. An argument of a part is compared with the same part's only."""
    part = key.rpartition(".")[0]
    alike = [other for other in namesakes if other.get(part) == own.get(part)]
    return sum(other.get(key) != own[key] for other in alike)


def _flatten(value: Any, key: str = "") -> dict[str, Any]:
    """{'method': {'name': 'ewc', 'args': {'strength': 2}}} -> {'method': 'ewc', 'method.strength': 2}."""
    if isinstance(value, tuple | list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return {key: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        silent = key and name in ("name", "args")
        flat |= _flatten(item, key if silent else f"{key}.{name}".lstrip("."))
    return flat
