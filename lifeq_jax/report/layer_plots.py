"""Plots of layers, each a matplotlib Figure: their bits, and the bits that a method froze."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.report.style import BLUE, RED, cues
from lifeq_jax.runs.size import LayerSize

LINES_OF_A_COLUMN = 22  # of the legend


def draw_bits(bits: Mapping[str, np.ndarray]) -> Figure:
    """Frozen bits after each task, a line for each layer; bits: layer -> (T,), and the legend keeps their order."""
    columns = -(-len(bits) // LINES_OF_A_COLUMN)
    figure = Figure(figsize=(7 + 2 * columns, 4.4), layout="constrained")
    axes = figure.subplots()
    for (layer, values), cue in zip(bits.items(), cues(len(bits)), strict=True):
        axes.plot(range(1, len(values) + 1), values, color=cue.color, lw=1.3, marker=cue.marker, ms=4, label=layer)
    tasks = max(map(len, bits.values()))
    axes.set(xticks=range(1, tasks + 1), xlabel="after training task", ylabel="frozen bits, mean over the kernel")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9")
    figure.legend(loc="outside right center", frameon=False, fontsize=7, ncols=columns)
    return figure


def draw_layer_sizes(layers: Mapping[str, LayerSize]) -> Figure:
    """Bits of the weights and activations of each layer, and beside them the bytes of its weights.

    layers: as `layers.units` gives them, in the order of calls from the top."""
    places = range(len(layers))
    figure = Figure(figsize=(9, 1.2 + 0.2 * len(layers)), layout="constrained")
    bits, size = figure.subplots(1, 2, sharey=True)
    for name, color, marker in (("weight_bits", BLUE, "o"), ("act_bits", RED, "s")):
        values = [np.nan if (found := getattr(layer, name)) is None else found for layer in layers.values()]
        label = "weights" if name == "weight_bits" else "activations"
        face = {"markerfacecolor": "none"} if marker == "s" else {}
        bits.plot(values, places, marker, color=color, ms=8 if marker == "s" else 5, lw=0, label=label, **face)
    shown = sorted({value for layer in layers.values() for value in layer[:2] if value})
    bits.set_xscale("log", base=2)
    bits.set_xticks(shown, map(str, shown))
    bits.minorticks_off()
    bits.set(xlabel="bits", ylim=(len(layers) - 0.5, -0.5), xlim=(0.8 * min(shown), 1.25 * max(shown)))
    bits.set_yticks(places, list(layers), fontsize=8)
    size.barh(places, [layer.weights * (layer.weight_bits or 0) / 8e3 for layer in layers.values()], color=BLUE)
    size.set(xlabel="weights, kB")
    for axes in (bits, size):
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure
