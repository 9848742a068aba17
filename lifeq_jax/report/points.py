"""A metric of many runs against one setting: a point for each run, mean and spread of each combination."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import mean_and_std
from lifeq_jax.report.style import cues


def draw_points(
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    metric: str,
    by: str,
    hue: str | None,
    label: str,
    scale: float = 100,
) -> Figure:
    """One point for each row that has the metric; mean and sample standard deviation of each combination of the keys.

    Args:
        rows: of runs.
        keys: the settings that vary.
        metric: a key of the rows.
        by: the key along the axis.
        hue: the key that colors and markers show first; they also show all other keys.
        label: of the axis that shows the metric.
        scale: times the metric is shown; 100 shows shares as per cent.

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
    labels = ["\n".join(textwrap.wrap(name, 20)) for name in _names(places)]
    widest = max(len(line) for label in labels for line in label.split("\n"))
    place_width = max(1.0, 0.5 * len(series), 0.1 * widest)  # inches; a letter is less than a tenth of one wide
    figure = Figure(figsize=(2.5 + place_width * len(places), 4), layout="constrained")
    axes = figure.subplots()
    under = axes.get_xaxis_transform()
    legend = list(zip(*(_names(values) for values in zip(*series, strict=True)), strict=True))
    for number, (kind, (color, marker)) in enumerate(zip(series, cues(len(series)), strict=True)):
        shift = 0.6 * ((number + 0.5) / len(series) - 0.5)
        for place, value in enumerate(places):
            own = [scale * r[metric] for r in known if r[by] == value and tuple(r[key] for key in others) == kind]
            if own:
                mean, spread = mean_and_std(own)
                axes.plot(np.full(len(own), place + shift - 0.05), own, marker, color=color, alpha=0.5, ms=4, lw=0)
                reach = 0.0 if np.isnan(spread) else spread
                axes.errorbar(place + shift + 0.05, mean, reach, color=color, marker=marker, ms=8, capsize=4, lw=1.5)
        if others:
            axes.plot([], [], marker, color=color, label=", ".join(legend[number]))
    for place, value in enumerate(places):
        if not any(row[by] == value for row in known):
            axes.text(place, 0.5, "none finished", rotation=90, ha="center", va="center", transform=under)
    axes.set_xticks(range(len(places)), labels)
    axes.set(xlabel=by, ylabel=label, xlim=(-0.5, len(places) - 0.5))
    axes.grid(axis="y", color="0.9")
    if others:
        figure.legend(loc="outside right center", frameon=False, title=",\n".join(others))
    return figure


def _names(values: Sequence[Any]) -> list[str]:
    """The values as text, without the folders of those that are files, where that leaves different ones different."""
    whole = [str(value) for value in values]
    short = [re.sub(r"^[^(]*/", "", name) for name in whole]
    return short if len(set(short)) == len(set(whole)) else whole
