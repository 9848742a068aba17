"""The report of one or several runs: report.md and its plots, in one folder."""

from collections.abc import Sequence
from pathlib import Path

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report import plots, tables
from lifeq_jax.report.groups import Group, group_runs
from lifeq_jax.report.runs import Run

DRAWINGS = {"matrix": plots.draw_matrix, "training": plots.draw_training, "forgetting": plots.draw_forgetting}


def write_report(runs: Sequence[Run], out: str | Path) -> Path:
    """Writes <out>/report.md and the PNG plots beside it; returns the path of report.md.

    Runs that differ only in the seed are one group, reported as mean ± sample standard deviation; several
    groups are compared first, the best average accuracy on top. Refuses no runs and a folder that cannot be
    written."""
    out = Path(out)
    groups = group_runs(runs)
    try:
        out.mkdir(parents=True, exist_ok=True)
        parts = _comparison(groups, out)
        for rank, group in enumerate(groups, start=1):
            parts += _section(group, out, prefix=f"{rank}_" if len(groups) > 1 else "")
        path = out / "report.md"
        path.write_text("\n\n".join([*parts, "## Formulas", FORMULAS, tables.formula_table()]) + "\n")
    except OSError as error:
        raise Refusal(f"report folder {out} cannot be written: {error.strerror}") from None
    return path


FORMULAS = "A[i, j] is the accuracy on task j after training task i; tasks count from 0 to T-1."


def _comparison(groups: Sequence[Group], out: Path) -> list[str]:
    if len(groups) == 1:
        return [f"# {groups[0].label}"]
    plots.save(plots.draw_comparison(groups), out / "comparison.png")
    return [
        f"# {len(groups)} recipes",
        "Mean ± sample standard deviation over n seeds; accuracies in per cent, the others in points.",
        tables.comparison_table(groups),
        "![average accuracy and forgetting](comparison.png)",
    ]


def _section(group: Group, out: Path, prefix: str) -> list[str]:
    for name, draw in DRAWINGS.items():
        plots.save(draw(group), out / f"{prefix}{name}.png")
    many = f", mean over {len(group.runs)} seeds" if len(group.runs) > 1 else ""
    return [
        *([f"## {group.label}"] if prefix else []),
        tables.facts(group),
        f"Accuracy on each task, in per cent{many}; in brackets: not trained yet.",
        tables.matrix_table(group),
        f"![accuracy matrix]({prefix}matrix.png)",
        "Metrics; accuracies in per cent, the others in points.",
        tables.metrics_table(group),
        f"![forgetting of each task]({prefix}forgetting.png)",
        f"The chain of bit-widths{many}.",
        tables.stages_table(group),
        f"![accuracy of each task over training]({prefix}training.png)",
    ]
