"""The plot of what a method measured of layers, a matplotlib Figure."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.report.plots import task_colors

COLORS = task_colors(10)
MARKERS = "os^Dvx"  # another one after every ten lines
LINES_OF_A_COLUMN = 22  # of the legend


def draw_bits(bits: Mapping[str, np.ndarray]) -> Figure:
    """Frozen bits after each task, a line for each layer; bits: layer -> (T,), and the legend keeps their order."""
    columns = -(-len(bits) // LINES_OF_A_COLUMN)
    figure = Figure(figsize=(7 + 2 * columns, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (layer, values) in enumerate(bits.items()):
        marker = MARKERS[number // len(COLORS) % len(MARKERS)]
        color = COLORS[number % len(COLORS)]
        axes.plot(range(1, len(values) + 1), values, color=color, lw=1.3, marker=marker, ms=4, label=layer)
    tasks = max(map(len, bits.values()))
    axes.set(xticks=range(1, tasks + 1), xlabel="after training task", ylabel="frozen bits, mean over the kernel")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9")
    figure.legend(loc="outside right center", frameon=False, fontsize=7, ncols=columns)
    return figure
