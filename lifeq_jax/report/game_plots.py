"""Plots of runs on games, each a matplotlib Figure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.report.style import BLUE


class LearningCurve(NamedTuple):
    """Returns while a game was learned."""

    name: str
    steps: np.ndarray  # (epochs,) steps of play at the end of each epoch
    returns: np.ndarray  # (seeds, epochs), NaN: no game ended
    alone: np.ndarray | None  # (epochs,), mean return where the game was learned alone
    chance: float  # mean return of an agent that acts at random


def draw_curves(curves: Sequence[LearningCurve]) -> Figure:
    """Return of training games over the steps of play, mean over the seeds. Band: sample standard deviation; dashed
    line: the game learned alone; dotted: an agent that acts at random."""
    figure = Figure(figsize=(1.2 + 3.4 * len(curves), 3.4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
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
        axes.set(title=curve.name, xlabel="steps of play", ylabel="return of training games")
        axes.grid(axis="y", color="0.9")
    return figure


def draw_returns(names: Sequence[str], returns: np.ndarray) -> Figure:
    """Mean return in each game, a panel each: by chance and after each game, (1 + T, T); hatched: the game had not
    been learned."""
    figure = Figure(figsize=(1.2 + 2.6 * len(names), 2.8), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    labels = ["chance", *(f"after {number}" for number in range(1, len(returns)))]
    for game, (axes, name) in enumerate(zip(panels, names, strict=True)):
        colors = ["0.6", *(BLUE if after >= game else "0.8" for after in range(len(names)))]
        hatches = ["", *("" if after >= game else "//" for after in range(len(names)))]
        bars = axes.bar(range(len(returns)), returns[:, game], color=colors, hatch=hatches, edgecolor="white", lw=0)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.set_xticks(range(len(returns)), labels, fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.margins(y=0.15)
    panels[0].set_ylabel("return")
    return figure
