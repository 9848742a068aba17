"""Markdown tables of runs. Accuracies in per cent, their differences in percentage points."""

from collections.abc import Callable, Sequence

import numpy as np

from lifeq_jax.metrics.continual import CONTINUAL, continual_metrics, formula
from lifeq_jax.report.groups import Group
from lifeq_jax.report.runs import Run


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); of a single value the deviation is NaN."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation


def over_seeds(group: Group, number: Callable[[Run], float]) -> tuple[float, float]:
    """`mean_and_std` of one number of each run of a group."""
    return mean_and_std([number(run) for run in group.runs])


def metric_over_seeds(group: Group, name: str) -> tuple[float, float]:
    """`mean_and_std` of one row of CONTINUAL over the runs of a group, as a share."""
    return over_seeds(group, lambda run: CONTINUAL[name](run.matrix))


def mean_matrix(group: Group) -> np.ndarray:
    """(T, T) accuracy matrix, averaged over the runs of a group."""
    return np.mean([run.matrix for run in group.runs], axis=0)


def per_cent(mean: float, deviation: float = float("nan")) -> str:
    """'91.25 ± 0.43' of shares; without a deviation '91.25'; '' for NaN."""
    if np.isnan(mean):
        return ""
    return f"{100 * mean:.2f}" + ("" if np.isnan(deviation) else f" ± {100 * deviation:.2f}")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def seeds_of(group: Group) -> str:
    """'0, 1, 2'."""
    return ", ".join(str(run.recipe.seed) for run in group.runs)


def comparison_table(groups: Sequence[Group]) -> str:
    """One row for each group: mean ± sample standard deviation of every continual metric over its seeds."""
    header = ["recipe", "method", "loss", "bits (w/a)", "n", *CONTINUAL]
    rows = []
    for group in groups:
        recipe, last = group.runs[0].recipe, group.runs[0].recipe.stages[-1]
        first = [
            group.label,
            recipe.method.name,
            recipe.loss,
            f"{last.weight_bits}/{last.act_bits}",
            str(len(group.runs)),
        ]
        rows.append([*first, *(per_cent(*metric_over_seeds(group, name)) for name in CONTINUAL)])
    return markdown_table(header, rows)


def formula_table() -> str:
    """Every continual metric with its formula over the accuracy matrix A."""
    return markdown_table(["metric", "formula"], [[name, f"`{formula(name)}`"] for name in CONTINUAL])


def matrix_table(group: Group) -> str:
    """The accuracy matrix, mean over the seeds; brackets mark tasks that were not trained yet."""
    matrix = mean_matrix(group)
    tasks = range(len(matrix))
    rows = []
    for after in tasks:
        cells = [per_cent(matrix[after, task]) for task in tasks]
        shown = [f"({cell})" if cell and task > after else cell for task, cell in enumerate(cells)]
        rows.append([f"after task {after}", *shown])
    return markdown_table(["", *(f"task {task}" for task in tasks)], rows)


def metrics_table(group: Group) -> str:
    """Every continual metric of each run, and their mean where there are several."""
    metrics = [continual_metrics(run.matrix) for run in group.runs]
    header = ["metric", *(f"seed {run.recipe.seed}" for run in group.runs)]
    rows = [[name, *(per_cent(one[name]) for one in metrics)] for name in CONTINUAL]
    if len(group.runs) > 1:
        header.append("mean ± std")
        rows = [[*row, per_cent(*metric_over_seeds(group, row[0]))] for row in rows]
    return markdown_table(header, rows)


def stages_table(group: Group) -> str:
    """The chain of bit-widths, and the accuracy on each task at the end of each stage, mean over seeds."""
    rows = []
    for stage in group.runs[0].recipe.stages:
        ends = [run.stages.get(stage.name, ()) for run in group.runs]
        accuracies = np.mean(ends, axis=0) if len({len(end) for end in ends}) == 1 else np.array([])
        rows.append(
            [
                stage.name,
                f"{stage.weight_bits}/{stage.act_bits}",
                str(stage.tasks) if stage.tasks else "all",
                str(stage.epochs),
                ", ".join(per_cent(value) for value in accuracies),
            ]
        )
    header = ["stage", "bits (w/a)", "tasks", "epochs of each", "accuracy on each task at its end"]
    return markdown_table(header, rows)


def facts(group: Group) -> str:
    """Where the numbers of a group come from, as a list."""
    recipe = group.runs[0].recipe
    arguments = ", ".join(f"{name}={value}" for name, value in recipe.method.args.items())
    seconds, _ = over_seeds(group, lambda run: run.seconds)
    lines = [
        f"method: {recipe.method.name}" + (f" ({arguments})" if arguments else ""),
        f"loss: {recipe.loss}",
        f"model: {recipe.model.name}",
        f"accuracies measured on: {recipe.data.evaluate_on} images",
        f"seeds: {seeds_of(group)}",
        f"time of a run: {seconds:.0f} s",
        f"commit: {', '.join(sorted({run.commit for run in group.runs}))}",
        f"machine: {', '.join(sorted({run.machine for run in group.runs}))}",
        f"folders: {', '.join(f'`{run.folder}`' for run in group.runs)}",
    ]
    return "\n".join(f"- {line}" for line in lines)
