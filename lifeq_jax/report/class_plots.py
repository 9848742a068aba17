"""The plot of accuracy by class, a matplotlib Figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.report.classes import Curve
from lifeq_jax.report.plots import task_colors

MOST_NAMED = 30  # classes whose labels fit below the axis


def draw_classes(curves: Sequence[tuple[str, Curve]]) -> Figure:
    """Accuracy by class, most training images first: a line for each pair of label and curve, its deviation as a band.

    Gray bars: training images, on an axis of their own. Curves of other classes or other sizes get another panel."""
    panels: dict[tuple, list[int]] = {}
    for number, (_, curve) in enumerate(curves):
        panels.setdefault((*curve.label, *curve.train_images), []).append(number)
    figure = Figure(figsize=(9, 0.6 + 3.4 * len(panels)), layout="constrained")
    colors = task_colors(len(curves))
    for axes, numbers in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.values(), strict=True):
        _draw_sizes(axes, curves[numbers[0]][1])
        for number in numbers:
            _draw_curve(axes, *curves[number], colors[number])
        axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_sizes(axes: Axes, curve: Curve) -> None:
    sizes = axes.twinx()
    sizes.bar(range(len(curve.label)), curve.train_images, width=1, color="0.9")
    sizes.set_ylabel("training images")
    # a linear start leaves room for classes without any
    sizes.set_yscale("symlog", linthresh=1)
    axes.set_zorder(sizes.get_zorder() + 1)
    axes.patch.set_visible(False)
    named = list(map(str, curve.label)) if len(curve.label) <= MOST_NAMED else []
    axes.set(ylabel="accuracy, %", ylim=(-2, 102), xlim=(-0.5, len(curve.label) - 0.5))
    axes.set_xticks(range(len(named)), named)
    axes.set_xlabel("class, most training images first")


def _draw_curve(axes: Axes, label: str, curve: Curve, color: object) -> None:
    place, mean, reach = np.arange(len(curve.label)), 100 * curve.mean, 100 * curve.deviation
    axes.plot(place, mean, color=color, marker=".", lw=1.3, label=label)
    if reach.any():
        axes.fill_between(place, mean - reach, mean + reach, color=color, alpha=0.2, lw=0)
