"""Plots of several recipes beside each other, each a matplotlib Figure; a recipe has one color and marker in all."""

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.metrics.continual import CONTINUAL
from lifeq_jax.report.groups import Group
from lifeq_jax.report.style import cues, draw_seeds, share_limits
from lifeq_jax.report.tables import metric_over_seeds, per_cent, shown_metrics
from lifeq_jax.runs.read import Run


class Compared(NamedTuple):
    """A metric that recipes are compared by."""

    label: str
    most: float  # what it can be at most, in per cent or points


COMPARED = {
    "average_accuracy": Compared("average accuracy, %\nmore is better →", 100),
    "learning_accuracy": Compared("learning accuracy, %\nmore is better →", 100),
    "forgetting": Compared("forgetting, points\n← less is better", 100),
}


def draw_comparison(groups: Sequence[Group]) -> Figure:
    """The metrics of COMPARED, a row for each group: each seed, their mean and sample standard deviation.

    The axes show the range of the values, not all from 0. Where every group has one task there is nothing but
    accuracy."""
    names = [name for name in COMPARED if name in shown_metrics(groups)]
    figure = Figure(figsize=(3.2 + 2.6 * len(names), 1.4 + 0.45 * len(groups)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        reached: list[float] = []
        for row, (group, cue) in enumerate(zip(groups, cues(len(groups)), strict=True)):
            values = _values(group, name)
            mean, deviation = metric_over_seeds(group, name)
            draw_seeds(axes, values, row, cue, upright=False)
            axes.text(
                1.02, row, per_cent(mean, deviation), fontsize=8, va="center", transform=axes.get_yaxis_transform()
            )
            reached += [*values, *(100 * np.array([mean - deviation, mean + deviation]))]
        axes.set(xlim=share_limits(reached, 0, COMPARED[name].most))
        axes.set_xlabel(COMPARED[name].label, fontsize=9)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(groups)), [_label(group) for group in groups])
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure


def _values(group: Group, name: str) -> list[float]:
    if name not in shown_metrics([group]):
        return [float("nan")] * len(group.runs)
    return [100 * CONTINUAL[name](run.matrix) for run in group.runs]


def _label(group: Group) -> str:
    return "\n".join(textwrap.wrap(f"{group.label}, n={len(group.runs)}", 40))


def draw_tradeoff(groups: Sequence[Group]) -> Figure:
    """Forgetting against learning accuracy: a method that never learns a task has nothing to forget of it."""
    figure = _draw_against(
        groups,
        lambda run: 100 * CONTINUAL["learning_accuracy"](run.matrix),
        lambda run: 100 * CONTINUAL["forgetting"](run.matrix),
    )
    figure.axes[0].set(xlabel="learning accuracy, %", ylabel="forgetting, points")
    return figure


def draw_sizes(groups: Sequence[Group]) -> Figure:
    """Average accuracy against the bytes of the network."""
    figure = _draw_against(
        groups, lambda run: run.network.bytes / 1e3, lambda run: 100 * CONTINUAL["average_accuracy"](run.matrix)
    )
    figure.axes[0].set(xlabel="size of the network, kB", ylabel="average accuracy, %")
    return figure


def _draw_against(groups: Sequence[Group], across: Callable[[Run], float], up: Callable[[Run], float]) -> Figure:
    """Small points: each seed; large: the mean of a group."""
    figure = Figure(figsize=(8.4, max(3.4, 1.2 + 0.32 * len(groups))), layout="constrained")
    axes = figure.subplots()
    for group, cue in zip(groups, cues(len(groups)), strict=True):
        x, y = ([number(run) for run in group.runs] for number in (across, up))
        if len(x) > 1:
            axes.plot(x, y, cue.marker, color=cue.color, alpha=0.4, ms=4, lw=0)
        axes.plot(np.mean(x), np.mean(y), cue.marker, color=cue.color, ms=9, lw=0, label=_label(group))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.margins(0.08)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure
