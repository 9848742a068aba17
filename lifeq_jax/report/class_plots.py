"""Plots of single classes, each a matplotlib Figure: their accuracy, and what they are taken for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.report.classes import ClassCurve

MOST_NAMED = 30  # classes whose labels fit below the axis
MOST_NUMBERED = 12  # classes whose numbers fit into the cells


def draw_classes(curves: Sequence[tuple[str, Sequence[ClassCurve]]]) -> Figure:
    """Heat maps of accuracy by class, most training images first: a row for each label and its curves, one a task.

    Above each map the training images of the classes. Tasks, and rows of other classes or sizes, get maps of their
    own."""
    panels: dict[tuple, list[tuple[str, ClassCurve]]] = {}
    for label, tasks in curves:
        for task, curve in enumerate(tasks):
            panels.setdefault((task, *curve.label, *curve.train_images), []).append((label, curve))
    heights = [size for rows in panels.values() for size in (0.6, 0.35 * len(rows) + 0.1)]
    figure = Figure(figsize=(9, 0.4 + sum(heights) + 0.8 * len(panels)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    image: Any = None
    for number, ((task, *_), rows) in enumerate(panels.items()):
        _draw_sizes(axes[2 * number], rows[0][1], f"task {task + 1}" if len(curves[0][1]) > 1 else "")
        image = _draw_rows(axes[2 * number + 1], rows)
    figure.colorbar(image, ax=axes[1::2].tolist(), label="accuracy, %", aspect=30, fraction=0.03)
    return figure


def _draw_sizes(axes: Axes, curve: ClassCurve, title: str) -> None:
    axes.bar(range(len(curve.label)), curve.train_images, color="0.6")
    axes.set(xlim=(-0.5, len(curve.label) - 0.5), xticks=[])
    axes.set_ylabel("images", fontsize=8)
    # a linear start leaves room for classes without any
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(1, curve.train_images.max()))
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=7)


def _draw_rows(axes: Axes, rows: Sequence[tuple[str, ClassCurve]]):
    label = rows[0][1].label
    values = 100 * np.array([curve.mean for _, curve in rows])
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    if len(label) <= MOST_NUMBERED:
        for place in np.ndindex(values.shape):
            deviation = 100 * rows[place[0]][1].deviation[place[1]]
            text = f"{values[place]:.0f}" + (f" ±{deviation:.0f}" if deviation >= 0.005 else "")
            color = "white" if values[place] > 60 else "black"
            axes.text(place[1], place[0], text, ha="center", va="center", fontsize=8, color=color)
    named = list(map(str, label)) if len(label) <= MOST_NAMED else []
    axes.set_xticks(range(len(named)), named)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.set_xlabel("class, most training images first", fontsize=9)
    return image


def draw_confusion(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Heat map of a confusion matrix, counts (K, K), row: the true class; each row as shares of its images, per cent.

    Classes that are neither scored nor predicted are left out. `names`: of all K classes."""
    kept = np.flatnonzero(confusion.any(axis=0) | confusion.any(axis=1))
    counts = confusion[np.ix_(kept, kept)].astype(np.float64)
    images = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, images, out=np.full(counts.shape, np.nan), where=images > 0)
    side = float(np.clip(1.6 + 0.45 * len(kept), 3.2, 7))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=100)
    if len(kept) <= MOST_NUMBERED:
        for row, column in np.argwhere(shares >= 0.5):
            color = "white" if shares[row, column] > 60 else "black"
            text = f"{shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    if len(kept) <= MOST_NAMED:
        labels = [names[int(label)] for label in kept]
        upright = max(map(len, labels)) > 3
        axes.set_xticks(range(len(kept)), labels, fontsize=8, rotation=90 if upright else 0)
        axes.set_yticks(range(len(kept)), labels, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, label="% of the class's images")
    return figure
