"""The report of one or several runs: report.md, its plots, and both as one page, in one folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lifeq_jax.core.files import write_whole
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.classify import FEW, MANY, check_bounds
from lifeq_jax.report import class_plots, comparison_plots, layer_plots, oscillation_plots, plots, tables
from lifeq_jax.report.classes import NUMBERS, class_curves
from lifeq_jax.report.groups import Group, group_runs
from lifeq_jax.report.layers import frozen_bits, units
from lifeq_jax.report.oscillation import distance_ends, is_tracked
from lifeq_jax.report.page import write_page
from lifeq_jax.runs.read import Run


def write_report(
    runs: Sequence[Run],
    out: str | Path,
    *,
    others: Sequence[tuple[Path, str]] = (),
    many: int = MANY,
    few: int = FEW,
) -> Path:
    """Writes <out>/report.md, the PNG plots beside it, and report.html, which holds both and needs nothing else;
    returns the path of report.md.

    Runs that differ only in the seed are one group, reported as mean ± sample standard deviation. Several groups are
    compared first, sorted by average accuracy, with separate tables for test and for validation images. `others`:
    folders of unfinished runs, each with its status, to be listed. Sections that need several tasks, single classes,
    measured layers, tracked weights or measurements before re-estimation are left out if there are none. Classes with
    more than `many` training images, and with fewer than `few`, are averaged separately. Refuses an empty sequence of
    runs, bounds that overlap, and a folder that cannot be written."""
    check_bounds(many, few)
    out = Path(out)
    groups = group_runs(runs)
    try:
        out.mkdir(parents=True, exist_ok=True)
        parts = [f"# {groups[0].label}" if len(groups) == 1 else f"# {len(groups)} recipes"]
        parts += _others(others)
        parts += _comparison(groups, out) if len(groups) > 1 else []
        for group in groups:
            parts += _section(group, out, prefix=f"{group.slug}_" if len(groups) > 1 else "")
        parts += _classes(groups, out, many, few)
        parts += ["## Costs", tables.COST_TERMS, tables.cost_table(groups)]
        parts += ["## Formulas", FORMULAS, tables.formula_table(tables.shown_metrics(groups))]
        path = out / "report.md"
        write_whole(path, "\n\n".join(parts) + "\n")
        write_page(path)
    except OSError as error:
        raise Refusal(f"report folder {out} cannot be written: {error.strerror}") from None
    return path


FORMULAS = "A[i, j] is the accuracy on task j after training task i; tasks count from 1 to T."


def _others(others: Sequence[tuple[Path, str]]) -> list[str]:
    """The section that lists unfinished runs."""
    if not others:
        return []
    return ["Not finished, and left out:", "\n".join(f"- `{folder}`: {status}" for folder, status in others)]


def _comparison(groups: Sequence[Group], out: Path) -> list[str]:
    """A ranking of the groups measured on test images, and another of those measured on validation images."""
    parts = ["Mean ± sample standard deviation over n seeds; accuracies and shares in per cent, the others in points."]
    for kind, members in itertools.groupby(groups, lambda group: group.runs[0].recipe.data.evaluate_on):
        ranked = list(members)
        parts += [f"Measured on {kind} images:", tables.comparison_table(ranked), *_pictures(ranked, out, kind)]
    meanings = [f"- {name}: {tables.MEANINGS[name]}" for name in tables.shown_meanings(groups)]
    return [*parts, *(["\n".join(meanings)] if meanings else [])]


def _pictures(ranked: Sequence[Group], out: Path, kind: str) -> list[str]:
    """What compares groups that are measured on the same kind of images."""
    many = len(tables.shown_metrics(ranked)) > 1
    drawn = "accuracy at the end, accuracy when learned, and forgetting" if many else "accuracy"
    text = (
        f"{drawn}, on {kind} images; small: each seed, large: mean ± sample standard deviation; axes do not begin at 0"
    )
    parts = [_drawn(comparison_plots.draw_comparison(ranked), out / f"comparison_{kind}.png", text)]
    if many:
        text = "what is learned and what is forgotten of it: best at the lower right; small: each seed, large: mean"
        parts.append(_drawn(comparison_plots.draw_tradeoff(ranked), out / f"tradeoff_{kind}.png", text))
    if len({group.runs[0].network.bytes for group in ranked}) > 1:
        text = "accuracy against the size of the network; small: each seed, large: mean"
        parts.append(_drawn(comparison_plots.draw_sizes(ranked), out / f"sizes_{kind}.png", text))
    return parts


def _classes(groups: Sequence[Group], out: Path, many: int, few: int) -> list[str]:
    """The section about single classes."""
    names = tables.shown_numbers(groups)
    last = "at the end; mean ± sample standard deviation over n seeds"
    parts = [
        "## Classes",
        f"Accuracies in per cent {last}; of several tasks, the mean over the tasks.",
        "\n".join(f"- {name}: {NUMBERS[name].format(many=many, few=few)}" for name in names),
        tables.class_table(groups, many, few),
    ]
    if "many" in names:
        curves = [
            (group.label, class_curves([run.classes for run in group.runs], group.runs[0].recipe.data.class_names))
            for group in groups
        ]
        text = "accuracy by class at the end, in per cent; above: training images of the class"
        parts.append(_drawn(class_plots.draw_classes(curves), out / "classes.png", text))
    return parts


def _drawn(figure: Figure, path: Path, caption: str) -> str:
    """Saves the figure; returns the Markdown line that shows it."""
    return f"![{caption}]({plots.save(figure, path).name})"


def _section(group: Group, out: Path, prefix: str) -> list[str]:
    many = f", mean over {len(group.runs)} seeds" if len(group.runs) > 1 else ""
    spread = "; small: each seed, large: mean ± sample standard deviation" if many else ""
    below = ", below: sample standard deviation over the seeds" if many else ""
    lines = "; thick: mean over the seeds, band: sample standard deviation, thin: each seed" if many else ""
    forgetting = []
    if len(tables.shown_metrics([group])) > 1:
        figure = plots.draw_forgetting(group)
        text = f"forgetting of each task; of the last there is none{spread}"
        forgetting = [_drawn(figure, out / f"{prefix}forgetting.png", text)]
    return [
        *([f"## {group.label}"] if prefix else []),
        tables.facts(group),
        f"Accuracy on each task, in per cent{many}; in brackets: not trained yet.",
        tables.matrix_table(group),
        _drawn(
            plots.draw_matrix(group),
            out / f"{prefix}matrix.png",
            f"accuracy matrix{below}; in brackets: not trained yet",
        ),
        "Metrics; accuracies in per cent, the others in points.",
        tables.metrics_table(group),
        *forgetting,
        f"The chain of bit-widths{many}.",
        tables.stages_table(group),
        _drawn(
            plots.draw_training(group), out / f"{prefix}training.png", f"accuracy on each task over training{lines}"
        ),
        *_confusion(group, out, prefix),
        *_sizes(group, out, prefix),
        *_layers(group, out, prefix, many),
        *_oscillation(group, out, prefix, many),
    ]


def _confusion(group: Group, out: Path, prefix: str) -> list[str]:
    confusion = np.sum([run.confusion for run in group.runs], axis=0)
    text = "confusion matrix at the end, summed over tasks and seeds; a row is a true class, in per cent of its images"
    return [
        _drawn(
            class_plots.draw_confusion(confusion, group.runs[0].recipe.data.class_names),
            out / f"{prefix}confusion.png",
            text,
        )
    ]


def _sizes(group: Group, out: Path, prefix: str) -> list[str]:
    """The bits of every layer; nothing where no layer can quantize."""
    layers = units(group.runs[0].network.layers)
    if not layers:
        return []
    figure = layer_plots.draw_layer_sizes(layers)
    picture = _drawn(figure, out / f"{prefix}bits.png", "bits of each layer, and what its weights take")
    return ["Bits of each layer in the last stage.", tables.sizes_table(group), picture]


def _layers(group: Group, out: Path, prefix: str, many: str) -> list[str]:
    """The section about the method's measurements of layers; empty unless every run has them."""
    table = tables.layers_table(group)
    if not table:
        return []
    parts = [f"Capacity used, the share of all bits that are frozen, and dead units, in per cent{many}.", table]
    if bits := frozen_bits([run.layers for run in group.runs]):
        figure = layer_plots.draw_bits(bits)
        parts.append(_drawn(figure, out / f"{prefix}layers.png", "frozen bits of each layer over the tasks"))
    return parts


def _oscillation(group: Group, out: Path, prefix: str, many: str) -> list[str]:
    """The section about re-estimation and oscillating weights; empty if the runs did not measure them."""
    parts = []
    if table := tables.reestimation_table(group):
        batches = group.runs[0].recipe.reestimation_batches
        over = f"over {batches} training batches, mean over the tasks trained so far, in per cent{many}"
        parts += [f"Accuracy before and after batch-norm re-estimation {over}.", table]
    if is_tracked(group):
        figure = oscillation_plots.draw_shares(group)
        parts.append(_drawn(figure, out / f"{prefix}oscillation.png", "weights oscillating and frozen over training"))
    if ends := distance_ends(group):
        figure = oscillation_plots.draw_distances(ends)
        parts.append(_drawn(figure, out / f"{prefix}weight_distance.png", "distance of weights to the nearest code"))
    return parts
