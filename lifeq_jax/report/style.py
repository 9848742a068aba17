"""Colors that color-blind readers tell apart, and beside each a second cue: a marker."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from lifeq_jax.metrics.continual import mean_and_std

# Okabe and Ito's colors without their yellow, which is faint on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
BLUE, RED, GREEN = COLORS[:3]


class Cue(NamedTuple):
    """How one series looks in every plot of a report."""

    color: Any
    marker: str


def cues(number: int) -> list[Cue]:
    """A cue for each of `number` series that have no order; no two of 77 are alike."""
    return [Cue(COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]) for place in range(number)]


def task_cues(tasks: int) -> list[Cue]:
    """A cue for each task: colors that differ clearly, or a scale where there are more tasks than colors."""
    if tasks <= len(COLORS):
        return cues(tasks)
    scale = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, tasks))
    return [Cue(color, cue.marker) for color, cue in zip(scale, cues(tasks), strict=True)]


def draw_seeds(axes: Axes, values: Sequence[float], place: float, cue: Cue, *, upright: bool, size: float = 7) -> None:
    """Small points: each seed; large: their mean, with the sample standard deviation as a bar.

    Args:
        place: where on the other axis.
        upright: the values are along y."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return
    mean, deviation = mean_and_std(known)
    reach = 0.0 if np.isnan(deviation) else deviation

    def order(value: Any, where: Any) -> tuple:
        return (where, value) if upright else (value, where)

    if len(known) > 1:
        axes.plot(*order(known, [place] * len(known)), cue.marker, color=cue.color, alpha=0.4, ms=0.6 * size, lw=0)
    error: dict[str, Any] = {"yerr" if upright else "xerr": reach}
    axes.errorbar(*order(mean, place), **error, color=cue.color, marker=cue.marker, ms=size, capsize=3, lw=1.4)


def share_limits(values: Sequence[float], low: float = 0, high: float = 100) -> tuple[float, float]:
    """Limits of an axis of per cent or points that show every value, with a margin, and nothing beyond low and high."""
    known = np.array(values)[np.isfinite(values)]
    if not known.size:
        return low, high
    margin = max(0.08 * np.ptp(known), 0.5)
    return float(max(low, known.min() - margin)), float(min(high, known.max() + margin))
