"""The report of one or several runs: report.md and its plots, in one folder."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lifeq_jax.core.files import write_whole
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.classify import FEW, MANY, check_bounds
from lifeq_jax.report import class_plots, layer_plots, oscillation_plots, plots, tables
from lifeq_jax.report.classes import NUMBERS, class_curve
from lifeq_jax.report.groups import Group, group_runs
from lifeq_jax.report.layers import frozen_bits
from lifeq_jax.report.oscillation import distance_ends, is_tracked
from lifeq_jax.runs.read import Run


def write_report(
    runs: Sequence[Run],
    out: str | Path,
    *,
    others: Sequence[tuple[Path, str]] = (),
    many: int = MANY,
    few: int = FEW,
) -> Path:
    """Writes <out>/report.md and the PNG plots beside it; returns the path of report.md.

    Runs that differ only in the seed are one group, reported as mean ± sample standard deviation; several groups are
    compared first, the best average accuracy on top, results on test and on validation images apart. `others`: folders
    of runs that are not finished, each with its status, to be listed. What needs several tasks, single classes,
    measured layers, tracked weights or measurements before re-estimation is left out where there are none. Classes
    with more than `many` training images, and with fewer than `few`, are averaged apart. Refuses no runs, bounds that
    overlap and a folder that cannot be written."""
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
        parts += ["## Formulas", FORMULAS, tables.formula_table(tables.shown_metrics(groups))]
        path = out / "report.md"
        write_whole(path, "\n\n".join(parts) + "\n")
    except OSError as error:
        raise Refusal(f"report folder {out} cannot be written: {error.strerror}") from None
    return path


FORMULAS = "A[i, j] is the accuracy on task j after training task i; tasks count from 1 to T."


def _others(others: Sequence[tuple[Path, str]]) -> list[str]:
    """The runs that the report leaves out."""
    if not others:
        return []
    return ["Not finished, and left out:", "\n".join(f"- `{folder}`: {status}" for folder, status in others)]


def _comparison(groups: Sequence[Group], out: Path) -> list[str]:
    """A ranking of the groups measured on test images, and another of those measured on validation images."""
    parts = ["Mean ± sample standard deviation over n seeds; accuracies and shares in per cent, the others in points."]
    for kind, members in itertools.groupby(groups, lambda group: group.runs[0].recipe.data.evaluate_on):
        ranked = list(members)
        drawn = "average accuracy and forgetting" if len(tables.shown_metrics(ranked)) > 1 else "average accuracy"
        picture = _drawn(plots.draw_comparison(ranked), out / f"comparison_{kind}.png", f"{drawn} on {kind} images")
        parts += [f"Measured on {kind} images:", tables.comparison_table(ranked), picture]
    meanings = [f"- {name}: {tables.MEANINGS[name]}" for name in tables.shown_meanings(groups)]
    return [*parts, *(["\n".join(meanings)] if meanings else [])]


def _classes(groups: Sequence[Group], out: Path, many: int, few: int) -> list[str]:
    """What the runs measured of single classes."""
    names = tables.shown_numbers(groups)
    last = "at the end; mean ± sample standard deviation over n seeds"
    parts = [
        "## Classes",
        f"Accuracies in per cent {last}; of several tasks, the mean over the tasks.",
        "\n".join(f"- {name}: {NUMBERS[name].format(many=many, few=few)}" for name in names),
        tables.class_table(groups, many, few),
    ]
    if "many" in names:
        curves = [(group.label, class_curve([run.classes for run in group.runs])) for group in groups]
        parts.append(_drawn(class_plots.draw_classes(curves), out / "classes.png", "accuracy by class"))
    return parts


def _drawn(figure: Figure, path: Path, caption: str) -> str:
    """Saves the figure; returns the line that shows it."""
    return f"![{caption}]({plots.save(figure, path).name})"


def _section(group: Group, out: Path, prefix: str) -> list[str]:
    many = f", mean over {len(group.runs)} seeds" if len(group.runs) > 1 else ""
    forgetting = []
    if len(tables.shown_metrics([group])) > 1:
        figure = plots.draw_forgetting(group)
        forgetting = [_drawn(figure, out / f"{prefix}forgetting.png", "forgetting of each task")]
    return [
        *([f"## {group.label}"] if prefix else []),
        tables.facts(group),
        f"Accuracy on each task, in per cent{many}; in brackets: not trained yet.",
        tables.matrix_table(group),
        _drawn(plots.draw_matrix(group), out / f"{prefix}matrix.png", "accuracy matrix"),
        "Metrics; accuracies in per cent, the others in points.",
        tables.metrics_table(group),
        *forgetting,
        f"The chain of bit-widths{many}.",
        tables.stages_table(group),
        _drawn(plots.draw_training(group), out / f"{prefix}training.png", "accuracy of each task over training"),
        *_layers(group, out, prefix, many),
        *_oscillation(group, out, prefix, many),
    ]


def _layers(group: Group, out: Path, prefix: str, many: str) -> list[str]:
    """What the method of the runs measured of layers; nothing where some run did not."""
    table = tables.layers_table(group)
    if not table:
        return []
    parts = [f"Capacity used, the share of all bits that are frozen, and dead units, in per cent{many}.", table]
    if bits := frozen_bits([run.layers for run in group.runs]):
        figure = layer_plots.draw_bits(bits)
        parts.append(_drawn(figure, out / f"{prefix}layers.png", "frozen bits of each layer over the tasks"))
    return parts


def _oscillation(group: Group, out: Path, prefix: str, many: str) -> list[str]:
    """What the runs measured of re-estimation and of oscillating weights; nothing where they did not."""
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
