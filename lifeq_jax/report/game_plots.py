"""Plots of runs on games, each a matplotlib Figure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lifeq_jax.report.style import BLUE


class LearningCurve(NamedTuple):
    """Returns while a game was learned."""

    name: str
    steps: np.ndarray  # (epochs,) steps of play at the end of each epoch
    returns: np.ndarray  # (seeds, epochs), NaN: no game ended
    alone: np.ndarray | None  # (epochs,), mean return where the game was learned alone
    chance: float  # mean return of an agent that acts at random


COLUMNS = 3  # panels of a row; more would be too small to read on a page


def _panels(number: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `number` panels, each of about width x height inches, in rows."""
    columns, rows = min(number, COLUMNS), -(-number // COLUMNS)
    figure = Figure(figsize=(1.2 + width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for empty in panels[number:]:
        empty.remove()
    return figure, list(panels[:number])


def draw_curves(curves: Sequence[LearningCurve]) -> Figure:
    """Return of training games over the steps of play, mean over the seeds. Band: sample standard deviation; dashed
    line: the game learned alone; dotted: an agent that acts at random."""
    figure, panels = _panels(len(curves), 3.4, 3.4)
    for number, (axes, curve) in enumerate(zip(panels, curves, strict=True)):
        seen = np.isfinite(curve.returns).any(axis=0)
        steps, returns = curve.steps[seen], curve.returns[:, seen]
        mean = np.nanmean(returns, axis=0)
        axes.plot(steps, mean, color=BLUE, lw=1.5, marker=".")
        if len(returns) > 1 and np.isfinite(returns).all():
            deviation = returns.std(axis=0, ddof=1)
            axes.fill_between(steps, mean - deviation, mean + deviation, color=BLUE, alpha=0.2, lw=0)
        if curve.alone is not None and len(curve.alone) == len(curve.steps):
            axes.plot(curve.steps, curve.alone, color="0.4", lw=1.2, ls="--", label="learned alone")
        axes.axhline(curve.chance, color="0.4", lw=1.2, ls=":", label="chance")
        axes.legend(frameon=False, fontsize=8)
        axes.set(title=curve.name, xlabel="steps of play")
        axes.set_ylabel("return of training games" if number % COLUMNS == 0 else "")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y", color="0.9")
    return figure


def draw_returns(names: Sequence[str], returns: np.ndarray) -> Figure:
    """Mean return in each game, a panel each: by chance and after each game, (1 + T, T); hatched: the game had not
    been learned."""
    figure, panels = _panels(len(names), max(2.6, 0.5 * len(returns)), 2.8)
    labels = ["chance", *(f"after {number}" for number in range(1, len(returns)))]
    for game, (axes, name) in enumerate(zip(panels, names, strict=True)):
        colors = ["0.6", *(BLUE if after >= game else "0.8" for after in range(len(names)))]
        hatches = ["", *("" if after >= game else "//" for after in range(len(names)))]
        bars = axes.bar(range(len(returns)), returns[:, game], color=colors, hatch=hatches, edgecolor="white", lw=0)
        axes.bar_label(
            bars, [f"{value:.{1 if abs(value) < 100 else 0}f}" for value in returns[:, game]], fontsize=8, padding=2
        )
        axes.set_xticks(range(len(returns)), labels, fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.margins(y=0.15)
        axes.set_ylabel("return" if game % COLUMNS == 0 else "")
    return figure
