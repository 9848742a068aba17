"""Plots of oscillating weights, each a matplotlib Figure: of runs, and of the toy problem."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.groups import Group
from lifeq_jax.report.oscillation import DistanceEnds
from lifeq_jax.report.plots import mark_changes, name_changes

SHARES = (("oscillating", "tab:orange"), ("frozen", "tab:blue"))


def draw_shares(group: Group) -> Figure:
    """Share of tracked weights that oscillate, and that are frozen, over the epochs of all stages, in per cent.

    A line for each seed, uprights at task changes; a panel only for what was measured."""
    histories = [run.history for run in group.runs]
    measured = [
        (name, color, values)
        for name, color in SHARES
        if np.isfinite(np.concatenate(values := [getattr(history, name) for history in histories])).any()
    ]
    figure = Figure(figsize=(9, 1 + 2.6 * len(measured)), layout="constrained")
    panels = figure.subplots(len(measured), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, color, values) in zip(panels, measured, strict=True):
        for one in values:
            axes.plot(np.arange(1, len(one) + 1), 100 * one, color=color, lw=1.3, marker=".", alpha=0.8)
        mark_changes(axes, histories[0])
        axes.set(ylabel=f"{name}, % of weights")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.9")
    name_changes(panels[0], histories[0])
    panels[-1].set_xlabel("epoch, all stages")
    return figure


def draw_distances(ends: DistanceEnds) -> Figure:
    """Histogram of the signed distance of latent weights to the nearest code; at ±0.5 a weight changes its code."""
    edges = np.linspace(-0.5, 0.5, len(ends.first) + 1)
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.stairs(100 * ends.first, edges, fill=True, color="0.75", label=f"first: {ends.labels[0]}")
    axes.stairs(100 * ends.last, edges, color="tab:blue", lw=1.6, label=f"last: {ends.labels[1]}")
    axes.set(xlabel="distance to the nearest code, steps", ylabel="% of weights", xlim=(-0.5, 0.5))
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_toy(
    series: Mapping[str, np.ndarray], grid: np.ndarray, distance: np.ndarray, frequency: Mapping[str, np.ndarray]
) -> Figure:
    """The toy problem: latent weights over the steps, a panel for each of `series`; in the last panel the frequency.

    series: title -> (T,) or (T, n) trajectories, in the unit of grid. grid: (G,) quantized values, ascending; the
    decision thresholds half-way between them are dashed. distance: (D,) of the target from its grid point, in steps.
    frequency: label -> (D,), oscillations per step. Refuses a frequency of another length than distance."""
    for label, values in frequency.items():
        if np.shape(values) != np.shape(distance):
            raise Refusal(f"frequency of {label!r} has shape {np.shape(values)}, distance {np.shape(distance)}")
    columns = min(3, len(series) + 1)
    rows = -(-(len(series) + 1) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    limits = _view(np.concatenate([np.ravel(values) for values in series.values()]), grid)
    for axes, (title, values) in zip(panels, series.items(), strict=False):
        _draw_trajectories(axes, values, grid)
        axes.set(title=title, ylim=limits)
    axes = panels[len(series)]
    for label, values in frequency.items():
        axes.plot(distance, values, marker=".", label=label)
    axes.set(title="frequency", xlabel="distance from the grid point, steps", ylabel="oscillations per step")
    axes.legend(frameon=False, fontsize=8)
    for axes in panels[len(series) + 1 :]:
        axes.set_axis_off()
    return figure


def _draw_trajectories(axes: Axes, values: np.ndarray, grid: np.ndarray) -> None:
    for level in grid:
        axes.axhline(level, color="0.8", lw=0.8)
    for threshold in (grid[1:] + grid[:-1]) / 2:
        axes.axhline(threshold, color="tab:red", lw=0.8, ls="--")
    axes.plot(values, lw=1)
    axes.set(xlabel="step", ylabel="latent weight")


def _view(values: np.ndarray, grid: np.ndarray) -> tuple[float, float]:
    """Limits that show every value and the grid points around it, with a tenth of a step of margin."""
    below, above = grid[grid <= values.min()], grid[grid >= values.max()]
    margin = 0.1 * (grid[1] - grid[0])
    low = min(values.min(), below.max(initial=grid[0])) - margin
    high = max(values.max(), above.min(initial=grid[-1])) + margin
    return float(low), float(high)
