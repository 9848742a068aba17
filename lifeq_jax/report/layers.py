"""What a method measured of layers: layers.csv, read and checked, and the numbers a report takes from it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.layers import Measured, by_task, whole_network
from lifeq_jax.report.history import read_rows, read_whole_numbers

MEANINGS = {
    "capacity": "share of all bits that are frozen after the last task",
    "dead_units": "share of units whose incoming weights are all 0 after the last task",
}
COLUMNS = ["stage", "after", "layer", "quantity", "value"]
LIMITS = {"bits": (0, math.inf), "capacity": (0, 1), "values": (1, math.inf)}  # least and most, of every layer
KERNEL_LIMITS = {"units": (1, math.inf), "dead_units": (0, math.inf)}  # what kernels have besides

Layers = Mapping[int, Measured]  # the task just trained -> what was measured then


def read_layers(path: Path, recipe: Recipe, tasks: int) -> Layers:
    """The rows of layers.csv of the last stage, of `tasks` tasks; {} without the file or where nothing was measured.

    Refuses, naming row and column or layer and quantity, what is missing or damaged."""
    if not path.exists():
        return {}
    header, rows = read_rows(path, least=0)
    if header != COLUMNS:
        raise Refusal(f"{path}: the header is {','.join(header)}; it must be {','.join(COLUMNS)}")
    if not rows:
        return {}
    read_whole_numbers(path, rows, "after")
    for number, row in enumerate(rows, start=1):
        _check_value(f"{path}, row {number}", row)
    stage = recipe.stages[-1].name
    found = by_task(rows, stage)
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
    """Every task must tell all quantities of the same layers, each with its kernel."""
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


def at_end(layers: Layers) -> dict[str, float]:
    """The numbers of MEANINGS, as shares; NaN: not measured."""
    return whole_network(layers[max(layers)]) if layers else dict.fromkeys(MEANINGS, math.nan)


def frozen_bits(runs: Sequence[Layers]) -> dict[str, np.ndarray]:
    """{layer: (T,) float64}, frozen bits of its kernel after each task, mean over the kernel and the runs.

    The layer with the most at the end comes first; layers that some run lacks are left out."""
    common = set.intersection(*(set(measured) for layers in runs for measured in layers.values()))
    kernels = sorted(name for name in common if name.endswith("/kernel"))
    bits = {
        name.removesuffix("/kernel"): np.mean(
            [[measured[name]["bits"] for measured in layers.values()] for layers in runs], axis=0
        )
        for name in kernels
    }
    return dict(sorted(bits.items(), key=lambda item: -item[1][-1]))
