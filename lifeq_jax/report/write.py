"""The report of one or several runs: report.md and its plots, in one folder."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.classify import FEW, MANY, check_bounds
from lifeq_jax.report import class_plots, layer_plots, oscillation_plots, plots, tables
from lifeq_jax.report.classes import NUMBERS, class_curve
from lifeq_jax.report.groups import Group, group_runs
from lifeq_jax.report.layers import frozen_bits
from lifeq_jax.report.oscillation import distance_ends, is_tracked
from lifeq_jax.report.runs import Run


def write_report(runs: Sequence[Run], out: str | Path, *, many: int = MANY, few: int = FEW) -> Path:
    """Writes <out>/report.md and the PNG plots beside it; returns the path of report.md.

    Runs that differ only in the seed are one group, reported as mean ± sample standard deviation; several
    groups are compared first, the best average accuracy on top. What needs several tasks, single classes, measured
    layers, tracked weights or measurements before re-estimation is left out where there are none. Classes with more
    than `many` training images, and with fewer than `few`, are averaged apart. Refuses no runs, bounds that overlap and
    a folder that cannot be written."""
    check_bounds(many, few)
    out = Path(out)
    groups = group_runs(runs)
    try:
        out.mkdir(parents=True, exist_ok=True)
        parts = _comparison(groups, out)
        for rank, group in enumerate(groups, start=1):
            parts += _section(group, out, prefix=f"{rank}_" if len(groups) > 1 else "")
        parts += _classes(groups, out, many, few)
        parts += ["## Formulas", FORMULAS, tables.formula_table(tables.shown_metrics(groups))]
        path = out / "report.md"
        path.write_text("\n\n".join(parts) + "\n")
    except OSError as error:
        raise Refusal(f"report folder {out} cannot be written: {error.strerror}") from None
    return path


FORMULAS = "A[i, j] is the accuracy on task j after training task i; tasks count from 0 to T-1."


def _comparison(groups: Sequence[Group], out: Path) -> list[str]:
    if len(groups) == 1:
        return [f"# {groups[0].label}"]
    drawn = "average accuracy and forgetting" if len(tables.shown_metrics(groups)) > 1 else "average accuracy"
    meanings = [f"- {name}: {tables.MEANINGS[name]}" for name in tables.shown_meanings(groups)]
    return [
        f"# {len(groups)} recipes",
        "Mean ± sample standard deviation over n seeds; accuracies and shares in per cent, the others in points.",
        tables.comparison_table(groups),
        *(["\n".join(meanings)] if meanings else []),
        _drawn(plots.draw_comparison(groups), out / "comparison.png", drawn),
    ]


def _classes(groups: Sequence[Group], out: Path, many: int, few: int) -> list[str]:
    """What the runs measured of single classes; nothing where they did not."""
    names = tables.shown_numbers(groups)
    if not names:
        return []
    last = "at the end; mean ± sample standard deviation over n seeds"
    parts = [
        "## Classes",
        f"Accuracies in per cent {last}; of several tasks, the mean over the tasks.",
        "\n".join(f"- {name}: {NUMBERS[name].format(many=many, few=few)}" for name in names),
        tables.class_table(groups, many, few),
    ]
    if "many" in names:
        curves = [(group.label, class_curve(found)) for group in groups if (found := tables.classes_of(group))]
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
