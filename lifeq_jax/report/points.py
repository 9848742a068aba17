"""A metric of many runs against one setting: a point for each run, mean and spread of each kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import mean_and_std

# Okabe and Ito's colors, which color-blind readers tell apart, without their yellow, which is faint on white; and each
# series has a marker of its own
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")


def draw_points(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str, by: str, hue: str | None, images: str
) -> Figure:
    """One point for each row that has the metric; mean and sample standard deviation of each combination of the keys.

    Args:
        rows: of runs; metrics are shares.
        keys: what varies. `by` is along the axis; `hue`, and with it all others, colors and markers tell apart.
        images: what the metric is measured on.

    Raises:
        Refusal: no row has the metric, or a key does not vary."""
    for name in (by, *([] if hue is None else [hue])):
        check_choice(keys, name, "key")
    known = [row for row in rows if metric in row]
    if not known:
        names = sorted({name for row in rows for name in row})
        raise Refusal(f"no finished run has the metric {metric!r}; the rows have {', '.join(names)}")
    others = [key for key in ([] if hue is None else [hue]) + [key for key in keys if key != hue] if key != by]
    places = list(dict.fromkeys(row[by] for row in rows))
    series = list(dict.fromkeys(tuple(row[key] for key in others) for row in rows))
    figure = Figure(figsize=(2.5 + 0.5 * len(places) * max(2, len(series)), 4), layout="constrained")
    axes = figure.subplots()
    for number, kind in enumerate(series):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        shift = 0.6 * ((number + 0.5) / len(series) - 0.5)
        for place, value in enumerate(places):
            own = [100 * r[metric] for r in known if r[by] == value and tuple(r[key] for key in others) == kind]
            if own:
                mean, spread = mean_and_std(own)
                axes.plot(np.full(len(own), place + shift - 0.05), own, marker, color=color, alpha=0.5, ms=4, lw=0)
                reach = 0.0 if np.isnan(spread) else spread
                axes.errorbar(place + shift + 0.05, mean, reach, color=color, marker=marker, ms=8, capsize=4, lw=1.5)
        if others:
            axes.plot([], [], marker, color=color, label=", ".join(map(str, kind)))
    axes.set_xticks(range(len(places)), [str(value) for value in places])
    axes.set(xlabel=by, ylabel=f"{metric.replace('_', ' ')} on {images} images, %", xlim=(-0.5, len(places) - 0.5))
    axes.grid(axis="y", color="0.9")
    if others:
        figure.legend(loc="outside right center", frameon=False, title=",\n".join(others))
    return figure
