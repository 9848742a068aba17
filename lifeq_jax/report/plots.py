"""Plots of runs, each a matplotlib Figure. Accuracies in per cent; tasks are shown counted from 1."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.metrics.continual import forgetting_per_task
from lifeq_jax.report.groups import Group
from lifeq_jax.report.style import BLUE, Cue, draw_seeds, task_cues
from lifeq_jax.report.tables import mean_matrix
from lifeq_jax.runs.history import History


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure as PNG, 150 dots per inch, and returns the path."""
    figure.savefig(path, dpi=150)
    return path


def draw_matrix(group: Group) -> Figure:
    """Heat map of the accuracy matrix, mean over the seeds, below it the sample standard deviation; in brackets: not
    trained yet."""
    matrix = 100 * mean_matrix(group)
    tasks, seeds = len(matrix), len(group.runs)
    spread = 100 * np.std([run.matrix for run in group.runs], axis=0, ddof=1) if seeds > 1 else None
    figure = Figure(figsize=(2.6 + 0.7 * tasks, 1.8 + 0.6 * tasks), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for after, task in np.argwhere(np.isfinite(matrix)):
        value = matrix[after, task]
        text = f"{value:.1f}" + ("" if spread is None else f"\n±{spread[after, task]:.1f}")
        text = text if task <= after else f"({text})"
        color = "white" if value > 60 else "black"
        axes.text(task, after, text, ha="center", va="center", color=color, fontsize=9 if spread is None else 8)
    numbers = [str(task + 1) for task in range(tasks)]
    axes.set_xticks(range(tasks), numbers)
    axes.set_yticks(range(tasks), numbers)
    axes.set(xlabel="tested on task", ylabel="after training task")
    figure.colorbar(image, label="accuracy, %")
    return figure


def spans(labels: Sequence) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of equal labels."""
    lengths = [len(list(members)) for _, members in itertools.groupby(labels)]
    edges = [0, *itertools.accumulate(lengths)]
    return list(itertools.pairwise(edges))


def draw_training(group: Group) -> Figure:
    """Accuracy on each task over the epochs of all stages; uprights at task changes.

    Of several seeds with the same epochs: the mean, the sample standard deviation as a band; and a thin line each."""
    histories = [run.history for run in group.runs]
    tasks = histories[0].accuracy.shape[1]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    alike = len({(history.stage, history.task) for history in histories}) == 1
    for task, cue in enumerate(task_cues(tasks)):
        each = [100 * history.accuracy[:, task] for history in histories]
        if alike:
            _draw_mean(axes, np.array(each), cue)
        for values in each if len(each) > 1 or not alike else ():
            seen = np.isfinite(values)
            axes.plot(np.flatnonzero(seen) + 1, values[seen], color=cue.color, lw=0.6, alpha=0.6)
        axes.plot([], [], color=cue.color, marker=cue.marker, label=f"task {task + 1}")
    mark_changes(axes, histories[0])
    name_changes(axes, histories[0])
    axes.set(xlabel="epoch, all stages", ylabel="accuracy, %", ylim=(-2, 102))
    axes.grid(axis="y", color="0.9")
    figure.legend(loc="outside right center", frameon=False, ncols=1 + tasks // 16)
    return figure


def _draw_mean(axes: Axes, values: np.ndarray, cue: Cue) -> None:
    """values (seeds, epochs): the mean over the seeds where all are known, and their spread as a band."""
    seen = np.isfinite(values).all(axis=0)
    epochs, known = np.flatnonzero(seen) + 1, values[:, seen]
    mean = known.mean(axis=0)
    axes.plot(epochs, mean, color=cue.color, marker=cue.marker, ms=4, lw=1.5)
    if len(known) > 1:
        reach = known.std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - reach, mean + reach, color=cue.color, alpha=0.2, lw=0)


def mark_changes(axes: Axes, history: History) -> None:
    """A vertical line at each change of task and of stage; x is the epoch over all stages, from 1."""
    axes.set_xlim(0.5, len(history.task) + 0.5)
    for _, last in spans(list(zip(history.stage, history.task, strict=True))):
        axes.axvline(last + 0.5, color="0.6", lw=0.8, ls=":")
    for _, last in spans(history.stage):
        axes.axvline(last + 0.5, color="0.3", lw=1)


def name_changes(axes: Axes, history: History) -> None:
    """Writes the name of each stage, and the task in training, above the axes."""
    above = axes.get_xaxis_transform()
    for first, last in spans(list(zip(history.stage, history.task, strict=True))):
        axes.text((first + last + 1) / 2, 1.02, str(history.task[first] + 1), transform=above, ha="center", fontsize=8)
    for first, last in spans(history.stage):
        axes.text((first + last + 1) / 2, 1.08, history.stage[first], transform=above, ha="center", fontsize=9)
    axes.text(-0.02, 1.02, "task", transform=axes.transAxes, ha="right", fontsize=8)
    axes.text(-0.02, 1.08, "stage", transform=axes.transAxes, ha="right", fontsize=9)


def draw_forgetting(group: Group) -> Figure:
    """What was forgotten of each task but the last: each seed, their mean and sample standard deviation."""
    values = 100 * np.array([forgetting_per_task(run.matrix)[:-1] for run in group.runs])
    tasks = values.shape[1]
    figure = Figure(figsize=(2.5 + 0.6 * tasks, 3.2), layout="constrained")
    axes = figure.subplots()
    for task in range(tasks):
        draw_seeds(axes, list(values[:, task]), task + 1, Cue(BLUE, "o"), upright=True)
        axes.text(task + 1.12, values[:, task].mean(), f"{values[:, task].mean():.1f}", fontsize=8, va="center")
    axes.set(
        xticks=range(1, tasks + 1), xlim=(0.5, tasks + 0.6), xlabel="task", ylabel="forgetting, points (less is better)"
    )
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.grid(axis="y", color="0.9")
    return figure
