"""Reads and checks layers.csv, a method's measurements of each layer."""

import math
from collections.abc import Mapping
from pathlib import Path

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.layers import LayerMeasures
from lifeq_jax.runs.columns import LAYER_COLUMNS
from lifeq_jax.runs.rows import read_table, read_whole_numbers

LIMITS = {"bits": (0, math.inf), "capacity": (0, 1), "values": (1, math.inf)}  # least and most, of every layer
KERNEL_LIMITS = {"units": (1, math.inf), "dead_units": (0, math.inf)}  # additional quantities of kernels

Layers = Mapping[int, LayerMeasures]  # finished task -> measurements after it


def read_layers(path: Path, recipe: Recipe | GameRecipe, tasks: int) -> Layers:
    """The rows of layers.csv of the last stage, which has `tasks` tasks; {} if nothing was measured.

    Raises:
        Refusal: names the row and column, or layer and quantity, that is missing or damaged."""
    rows = read_table(path, LAYER_COLUMNS, least=0)
    if not rows:
        return {}
    read_whole_numbers(path, rows, "after")
    for number, row in enumerate(rows, start=1):
        _check_value(f"{path}, row {number}", row)
    stage = recipe.stages[-1].name
    found = _by_task(rows, stage)
    for task in range(tasks):
        if task not in found:
            raise Refusal(f"{path} lacks rows of stage {stage} after task {task}")
    layers: Layers = {task: found[task] for task in range(tasks)}
    _check_layers(path, layers)
    return layers


def _check_value(where: str, row: dict[str, str]) -> None:
    least, most = (LIMITS | KERNEL_LIMITS).get(row["quantity"], (-math.inf, math.inf))
    said = f"{where}: {row['quantity']} of {row['layer']}, value={row['value']!r}"
    try:
        value = float(row["value"])
    except ValueError:
        raise Refusal(f"{said} is not a number") from None
    if not math.isfinite(value):
        raise Refusal(f"{said} is not finite")
    if not least <= value <= most:
        wanted = f"from {least} to {most}" if most < math.inf else f"{least} or more"
        raise Refusal(f"{said} is out of range; it must be {wanted}")


def _check_layers(path: Path, layers: Layers) -> None:
    """Refuses rows unless every task has all quantities of the same layers, each with its kernel."""
    names = {name for measured in layers.values() for name in measured}
    kernels = {f"{name.rpartition('/')[0]}/kernel" for name in names}
    for task, measured in layers.items():
        for name in sorted(names | kernels):
            known = measured.get(name, {})
            for quantity in [*LIMITS, *(KERNEL_LIMITS if name in kernels else ())]:
                if quantity not in known:
                    raise Refusal(f"{path} lacks {quantity} of {name} after task {task}")
            if name in kernels and known["dead_units"] > known["units"]:
                said = f"dead_units={known['dead_units']:g} of {name} after task {task}"
                raise Refusal(f"{path}: {said} is more than units={known['units']:g}")


def _by_task(rows: list[dict[str, str]], stage: str) -> dict[int, dict[str, dict[str, float]]]:
    """The rows of one stage in a layers.csv as {finished task: {layer: {quantity: value}}}."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["stage"] == stage:
            layers = found.setdefault(int(row["after"]), {})
            layers.setdefault(row["layer"], {})[row["quantity"]] = float(row["value"])
    return found
