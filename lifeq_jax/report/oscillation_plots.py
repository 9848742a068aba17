"""Plots of oscillating weights, each a matplotlib Figure: of runs, and of the toy problem."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.groups import Group
from lifeq_jax.report.oscillation import DistanceEnds
from lifeq_jax.report.plots import mark_changes, name_changes
from lifeq_jax.report.style import BLUE, RED, Cue, cues

SHARES = (("oscillating", Cue(RED, "o")), ("frozen", Cue(BLUE, "s")))


def draw_shares(group: Group) -> Figure:
    """Share of tracked weights that oscillate, and that are frozen, over the epochs of all stages, in per cent.

    A line for each seed, vertical lines at task changes; a panel only for what was measured."""
    histories = [run.history for run in group.runs]
    measured = [
        (name, cue, values)
        for name, cue in SHARES
        if np.isfinite(np.concatenate(values := [getattr(history, name) for history in histories])).any()
    ]
    figure = Figure(figsize=(9, 1 + 2.6 * len(measured)), layout="constrained")
    panels = figure.subplots(len(measured), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, cue, values) in zip(panels, measured, strict=True):
        for one in values:
            axes.plot(
                np.arange(1, len(one) + 1), 100 * one, color=cue.color, lw=1.3, marker=cue.marker, ms=4, alpha=0.8
            )
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
    axes.stairs(100 * ends.last, edges, color=BLUE, lw=1.6, label=f"last: {ends.labels[1]}")
    axes.set(xlabel="distance to the nearest code, steps", ylabel="% of weights", xlim=(-0.5, 0.5))
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


SHOWN_STEPS = 60  # of the toy problem; more would be a solid band


def draw_toy(
    series: Mapping[str, np.ndarray], grid: np.ndarray, distance: np.ndarray, frequency: Mapping[str, np.ndarray]
) -> Figure:
    """The toy problem: latent weights over the last SHOWN_STEPS steps, a panel with a range of its own for each of
    `series`; in the last panel the frequency.

    series: title -> (T, D) trajectories, in the unit of grid. grid: (G,) quantized values, ascending; the decision
    thresholds half-way between them are dashed. distance: (D,) of the target from its grid point, in steps.
    frequency: label -> (D,), oscillations per step. Refuses values of another length than distance."""
    for label, values in [*series.items(), *frequency.items()]:
        if np.shape(values)[-1] != len(distance):
            raise Refusal(f"{label!r} has {np.shape(values)[-1]} values, distance {len(distance)}")
    columns = min(3, len(series) + 1)
    rows = -(-(len(series) + 1) // columns)
    figure = Figure(figsize=(4 * columns, 0.6 + 3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, values) in zip(panels, series.items(), strict=False):
        _draw_trajectories(axes, values, grid, distance)
        axes.set_title(title)
    axes = panels[len(series)]
    for (label, values), cue in zip(frequency.items(), cues(len(frequency)), strict=True):
        axes.plot(distance, values, color=cue.color, marker=cue.marker, markerfacecolor="none", label=label)
    axes.set(title="frequency", xlabel="distance of the best value from the grid point, steps")
    axes.set_ylabel("oscillations per step")
    axes.legend(frameon=False, fontsize=8)
    for axes in panels[len(series) + 1 :]:
        axes.remove()
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(distance) + 1,
        frameon=False,
        title="distance of the best value from the grid point, steps",
    )
    return figure


def _draw_trajectories(axes: Axes, values: np.ndarray, grid: np.ndarray, distance: np.ndarray) -> None:
    first = max(0, len(values) - SHOWN_STEPS)
    steps, shown = np.arange(first, len(values)), values[first:]
    for threshold in (grid[1:] + grid[:-1]) / 2:
        axes.axhline(threshold, color="0.3", lw=1, ls="--")
    for place, cue in enumerate(cues(len(distance))):
        label = f"{distance[place]:g}"
        axes.plot(steps, shown[:, place], color=cue.color, marker=cue.marker, ms=3, markevery=6, lw=1, label=label)
    margin = max(0.1 * np.ptp(shown), 0.01 * (grid[1] - grid[0]))
    axes.set(xlabel="step", ylabel="latent weight, steps", ylim=(shown.min() - margin, shown.max() + margin))


def draw_trace(places: np.ndarray, position: np.ndarray, codes: np.ndarray) -> Figure:
    """A panel for each weight: its position on the grid, and the integer it is rounded to, after each step.

    places (N,): flat indices of the weights in their kernel; position (S, N) and codes (S, N) after S steps, in steps
    of the grid. Dotted lines mark the decision thresholds, half-way between two integers."""
    steps, weights = position.shape
    figure = Figure(figsize=(9, 1 + 1.4 * weights), layout="constrained")
    panels = figure.subplots(weights, 1, sharex=True, squeeze=False)[:, 0]
    at = np.arange(1, steps + 1)
    for number, axes in enumerate(panels):
        both = np.concatenate([position[:, number], codes[:, number]])
        low, high = np.floor(both.min()), np.ceil(both.max())
        for edge in np.arange(low, high) + 0.5:
            axes.axhline(edge, color="0.6", lw=0.8, ls=":")
        axes.step(at, codes[:, number], where="mid", color=RED, lw=1, ls="--", label="integer")
        axes.plot(at, position[:, number], color=BLUE, lw=1.5, label="latent weight")
        axes.set(ylabel=f"weight {places[number]}", ylim=(low - 0.15, high + 0.15), yticks=np.arange(low, high + 1))
    panels[-1].set_xlabel("training step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, title="in steps of the grid")
    return figure
