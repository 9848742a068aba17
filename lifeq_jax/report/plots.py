"""Plots of runs, each a matplotlib Figure. Accuracies in per cent; tasks are shown counted from 1."""

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.metrics.continual import forgetting_per_task
from lifeq_jax.report.groups import Group
from lifeq_jax.report.tables import mean_matrix, metric_over_seeds, per_cent, shown_metrics
from lifeq_jax.runs.history import History


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure as PNG, 150 dots an inch, and returns the path."""
    figure.savefig(path, dpi=150)
    return path


def draw_matrix(group: Group) -> Figure:
    """Heat map of the accuracy matrix, mean over the seeds; in brackets: not trained yet."""
    matrix = 100 * mean_matrix(group)
    tasks = len(matrix)
    figure = Figure(figsize=(2.6 + 0.7 * tasks, 1.8 + 0.6 * tasks), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for after, task in np.argwhere(np.isfinite(matrix)):
        value = matrix[after, task]
        text = f"{value:.1f}" if task <= after else f"({value:.1f})"
        color = "white" if value > 60 else "black"
        axes.text(task, after, text, ha="center", va="center", color=color, fontsize=9)
    numbers = [str(task + 1) for task in range(tasks)]
    axes.set_xticks(range(tasks), numbers)
    axes.set_yticks(range(tasks), numbers)
    axes.set(xlabel="tested on task", ylabel="after training task")
    figure.colorbar(image, label="accuracy, %")
    axes.set_title("accuracy matrix", fontsize=10)
    return figure


def task_colors(tasks: int) -> list:
    """A color for each task: ten that differ clearly, or a scale where there are more."""
    if tasks <= 10:
        return list(matplotlib.colormaps["tab10"].colors[:tasks])  # type: ignore[attr-defined]
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 1, tasks)))


def spans(labels: Sequence) -> list[tuple[int, int]]:
    """(first, one past the last) of each stretch of equal labels."""
    lengths = [len(list(members)) for _, members in itertools.groupby(labels)]
    edges = [0, *itertools.accumulate(lengths)]
    return list(itertools.pairwise(edges))


def draw_training(group: Group) -> Figure:
    """Accuracy on each task over the epochs of all stages, a line for each seed; uprights at task changes."""
    histories = [run.history for run in group.runs]
    tasks = histories[0].accuracy.shape[1]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for history in histories:
        epochs = np.arange(1, len(history.task) + 1)
        for task, color in enumerate(task_colors(tasks)):
            values = 100 * history.accuracy[:, task]
            seen = np.isfinite(values)
            axes.plot(epochs[seen], values[seen], color=color, lw=1.3, marker=".", alpha=0.8)
    for task, color in enumerate(task_colors(tasks)):
        axes.plot([], [], color=color, label=f"task {task + 1}")
    mark_changes(axes, histories[0])
    name_changes(axes, histories[0])
    axes.set(xlabel="epoch, all stages", ylabel="accuracy, %", ylim=(-2, 102))
    axes.grid(axis="y", color="0.9")
    figure.legend(loc="outside right center", frameon=False, ncols=1 + tasks // 16)
    return figure


def mark_changes(axes: Axes, history: History) -> None:
    """An upright at each change of task and of stage; x is the epoch over all stages, from 1."""
    axes.set_xlim(0.5, len(history.task) + 0.5)
    for _, last in spans(list(zip(history.stage, history.task, strict=True))):
        axes.axvline(last + 0.5, color="0.6", lw=0.8, ls=":")
    for _, last in spans(history.stage):
        axes.axvline(last + 0.5, color="0.3", lw=1)


def name_changes(axes: Axes, history: History) -> None:
    """Names each stage, and each task in training, above the axes."""
    above = axes.get_xaxis_transform()
    for first, last in spans(list(zip(history.stage, history.task, strict=True))):
        axes.text((first + last + 1) / 2, 1.02, str(history.task[first] + 1), transform=above, ha="center", fontsize=8)
    for first, last in spans(history.stage):
        axes.text((first + last + 1) / 2, 1.08, history.stage[first], transform=above, ha="center", fontsize=9)
    axes.text(-0.02, 1.02, "task", transform=axes.transAxes, ha="right", fontsize=8)
    axes.text(-0.02, 1.08, "stage", transform=axes.transAxes, ha="right", fontsize=9)


def draw_forgetting(group: Group) -> Figure:
    """Bars: what was forgotten of each task, mean over the seeds; bars: sample standard deviation."""
    values = 100 * np.array([forgetting_per_task(run.matrix) for run in group.runs])
    tasks = values.shape[1]
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else None
    figure = Figure(figsize=(2.5 + 0.6 * tasks, 3.4), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(range(1, tasks + 1), values.mean(axis=0), yerr=deviation, color="tab:red", alpha=0.75, capsize=4)
    axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axes.set(xticks=range(1, tasks + 1), xlabel="task", ylabel="forgetting, points")
    axes.margins(y=0.15)
    axes.set_title("forgetting per task", fontsize=10)
    return figure


COMPARED = (("average_accuracy", "tab:blue", "%"), ("forgetting", "tab:red", "points"))


def draw_comparison(groups: Sequence[Group]) -> Figure:
    """Average accuracy and forgetting of each group, mean over seeds; bars: sample standard deviation.

    Where every group has one task there is no forgetting, and no panel for it."""
    compared = [row for row in COMPARED if row[0] in shown_metrics(groups)]
    figure = Figure(figsize=(4 + 3 * len(compared), 1.4 + 0.5 * len(groups)), layout="constrained")
    panels = figure.subplots(1, len(compared), sharey=True, squeeze=False)[0]
    labels = ["\n".join(textwrap.wrap(f"{group.label}, n={len(group.runs)}", 44)) for group in groups]
    for axes, (name, color, unit) in zip(panels, compared, strict=True):
        numbers = [metric_over_seeds(group, name) for group in groups]
        means, reach = np.nan_to_num(100 * np.array(numbers)).T
        bars = axes.barh(range(len(groups)), means, xerr=reach, color=color, alpha=0.75, capsize=3)
        axes.bar_label(bars, labels=[per_cent(*number) for number in numbers], fontsize=8, padding=4)
        axes.set(xlabel=f"{name.replace('_', ' ')}, {unit}", xlim=(0, max(1.0, 1.4 * np.max(means + reach))))
    panels[0].set_yticks(range(len(groups)), labels)
    panels[0].invert_yaxis()
    return figure
