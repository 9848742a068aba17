"""Markdown tables of runs. Accuracies in per cent, their differences in percentage points; tasks are shown counted
from 1."""

from collections.abc import Callable, Sequence

import numpy as np

from lifeq_jax.core.config import Part
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.metrics.continual import CONTINUAL, continual_metrics, formula, mean_and_std
from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.report import layers, oscillation
from lifeq_jax.report.classes import NUMBERS, class_numbers, is_unbalanced
from lifeq_jax.report.groups import Group
from lifeq_jax.runs.read import Run

MEANINGS = oscillation.MEANINGS | layers.MEANINGS


def over_seeds(group: Group, number: Callable[[Run], float]) -> tuple[float, float]:
    """`mean_and_std` of one number of each run of a group."""
    return mean_and_std([number(run) for run in group.runs])


def shown_metrics(groups: Sequence[Group]) -> tuple[str, ...]:
    """The rows of CONTINUAL to show; the average accuracy alone if every group has one task."""
    many = any(len(group.runs[0].matrix) > 1 for group in groups)
    return tuple(CONTINUAL) if many else ("average_accuracy",)


def metric_over_seeds(group: Group, name: str) -> tuple[float, float]:
    """`mean_and_std` of one row of CONTINUAL over the runs of a group, as a share; NaN where it is not shown."""
    if name not in shown_metrics([group]):
        return float("nan"), float("nan")
    return over_seeds(group, lambda run: CONTINUAL[name](run.matrix))


def mean_matrix(group: Group) -> np.ndarray:
    """(T, T) accuracy matrix, averaged over the runs of a group."""
    return np.mean([run.matrix for run in group.runs], axis=0)


def per_cent(mean: float, deviation: float = float("nan")) -> str:
    """Shares as text in per cent: '91.25 ± 0.43'; without a deviation '91.25'; '' for NaN."""
    return with_spread(100 * mean, 100 * deviation)


def with_spread(mean: float, deviation: float = float("nan"), digits: int = 2) -> str:
    """Numbers as text: '3.50 ± 0.71'; without a deviation '3.50'; '' for NaN."""
    if np.isnan(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if np.isnan(deviation) else f" ± {deviation:.{digits}f}")


def seeds_of(group: Group) -> str:
    """The seeds of a group as text, e.g. '0, 1, 2'."""
    return ", ".join(str(run.recipe.seed) for run in group.runs)


def at_end(run: Run) -> dict[str, float]:
    """The numbers of MEANINGS, as shares; NaN: not measured."""
    return oscillation.at_end(run) | layers.at_end(run.layers)


def shown_meanings(groups: Sequence[Group]) -> tuple[str, ...]:
    """The names of MEANINGS that any run of the groups measured."""
    ends = [at_end(run) for group in groups for run in group.runs]
    return tuple(name for name in MEANINGS if not all(np.isnan(end[name]) for end in ends))


def comparison_table(groups: Sequence[Group]) -> str:
    """One row for each group: mean ± sample standard deviation over its seeds of the continual metrics.

    Columns of MEANINGS follow where any group has them."""
    metrics, meanings = shown_metrics(groups), shown_meanings(groups)
    rows = []
    for group in groups:
        recipe, last = group.runs[0].recipe, group.runs[0].recipe.stages[-1]
        bits = f"{last.weight_bits}/{last.act_bits}"
        numbers = [metric_over_seeds(group, name) for name in metrics]
        numbers += [_end_over_seeds(group, name) for name in meanings]
        first = [group.label, recipe.method.name, recipe.loss.name, bits, recipe.data.evaluate_on, str(len(group.runs))]
        rows.append([*first, *(per_cent(*number) for number in numbers)])
    return markdown_table(["recipe", "method", "loss", "bits (w/a)", "images", "n", *metrics, *meanings], rows)


def _end_over_seeds(group: Group, name: str) -> tuple[float, float]:
    return over_seeds(group, lambda run: at_end(run)[name])


def formula_table(names: Sequence[str] = tuple(CONTINUAL)) -> str:
    """Continual metrics, each with its formula over the accuracy matrix A."""
    return markdown_table(["metric", "formula"], [[name, f"`{formula(name)}`"] for name in names])


def matrix_table(group: Group) -> str:
    """The accuracy matrix, mean over the seeds; brackets mark tasks that were not trained yet."""
    matrix = mean_matrix(group)
    rows = []
    for after, accuracies in enumerate(matrix):
        cells = map(per_cent, accuracies)
        shown = [f"({cell})" if cell and task > after else cell for task, cell in enumerate(cells)]
        rows.append([f"after task {after + 1}", *shown])
    return markdown_table(["", *(f"task {task + 1}" for task in range(len(matrix)))], rows)


def metrics_table(group: Group) -> str:
    """The continual metrics of each run, and their mean where there are several."""
    metrics = [continual_metrics(run.matrix) for run in group.runs]
    header = ["metric", *(f"seed {run.recipe.seed}" for run in group.runs)]
    rows = [[name, *(per_cent(one[name]) for one in metrics)] for name in shown_metrics([group])]
    if len(group.runs) > 1:
        header.append("mean ± std")
        rows = [[*row, per_cent(*metric_over_seeds(group, row[0]))] for row in rows]
    return markdown_table(header, rows)


def stages_table(group: Group) -> str:
    """The bit-widths of all stages, and the accuracy on each task at the end of each, mean over seeds."""
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


def reestimation_table(group: Group) -> str:
    """Accuracy before and after batch-norm re-estimation after each task, mean over the tasks trained so far.

    Mean ± sample standard deviation over the seeds, for rows that every seed measured; '' if there are none."""
    each = [oscillation.reestimated(run) for run in group.runs]
    rows = []
    for stage, task in (place for place in each[0] if all(place in one for one in each)):
        before, after = np.array([one[stage, task] for one in each]).T
        numbers = [per_cent(*mean_and_std(values)) for values in (before, after, after - before)]
        rows.append([stage, str(task + 1), *numbers])
    return markdown_table(["stage", "after task", "before", "after", "gain, points"], rows) if rows else ""


def layers_table(group: Group) -> str:
    """Shares of frozen bits and of dead units after each task, mean ± sample standard deviation over the seeds.

    '' unless every seed measured them."""
    if not all(run.layers for run in group.runs):
        return ""
    rows = []
    for task in range(len(group.runs[0].matrix)):
        each = [whole_network(run.layers[task]) for run in group.runs]
        cells = [per_cent(*mean_and_std([one[name] for one in each])) for name in layers.MEANINGS]
        rows.append([str(task + 1), *cells])
    return markdown_table(["after task", "capacity used", "dead units"], rows)


def cost_table(groups: Sequence[Group]) -> str:
    """What each group took and what its network takes: mean ± sample standard deviation of the seconds, medians over
    epochs of speed and train state."""
    rows = []
    for group in groups:
        seconds, deviation = over_seeds(group, lambda run: run.seconds)
        speed, state = (
            np.concatenate([getattr(run.history, name) for run in group.runs])
            for name in ("images_per_second", "state_megabytes")
        )
        size = group.runs[0].network
        rows.append(
            [
                group.label,
                str(len(group.runs)),
                f"{seconds:.0f}" + ("" if np.isnan(deviation) else f" ± {deviation:.0f}"),
                _median(speed, 0),
                _median(state, 1),
                f"{max(run.network.peak_megabytes for run in group.runs):.0f}",
                f"{size.parameters:,}",
                f"{size.bytes / 1e3:,.1f}",
                f"{size.bytes / (4 * size.parameters):.0%}" if size.parameters else "",
            ]
        )
    return markdown_table(COSTS, rows)


COSTS = (
    *("recipe", "n", "seconds", "images/s", "train state, MB", "peak memory, MB"),
    *("parameters", "network, kB", "of float32"),
)
COST_TERMS = (
    "Seconds of a run, evaluation included; images a second, of training, and the arrays of the train state, both the "
    "median over epochs; peak memory of the process, or of the accelerator where there is one, the largest of the "
    "seeds. The network's size counts weights at the bits of their layers and all else as float32, unpacked; beside "
    "it its share of the parameters as float32."
)


def _median(values: np.ndarray, digits: int) -> str:
    known = values[np.isfinite(values)]
    return f"{np.median(known):,.{digits}f}" if known.size else ""


def sizes_table(group: Group) -> str:
    """The bits and the size of every layer."""
    rows = [
        [
            name,
            *("" if bits is None else str(bits) for bits in layer[:2]),
            f"{layer.weights:,}" if layer.weights else "",
            f"{layer.weights * (layer.weight_bits or 32) / 8e3:,.2f}" if layer.weights else "",
        ]
        for name, layer in layers.units(group.runs[0].network.layers).items()
    ]
    return markdown_table(["layer", "bits of weights", "bits of activations", "weights", "kB"], rows)


def shown_numbers(groups: Sequence[Group]) -> tuple[str, ...]:
    """The names of NUMBERS to show; many, medium and few only if the classes of some task differ in their training
    images."""
    found = [run.classes for group in groups for run in group.runs]
    return tuple(NUMBERS) if any(map(is_unbalanced, found)) else ("accuracy", "balanced_accuracy")


def class_table(groups: Sequence[Group], many: int, few: int) -> str:
    """One row for each group: mean ± sample standard deviation over its seeds of NUMBERS."""
    names, rows = shown_numbers(groups), []
    for group in groups:
        numbers = [class_numbers(run.classes, many, few) for run in group.runs]
        cells = [per_cent(*mean_and_std([one[name] for one in numbers])) for name in names]
        rows.append([group.label, str(len(numbers)), *cells])
    return markdown_table(["recipe", "n", *names], rows)


def facts(group: Group) -> str:
    """The origin of a group's numbers, as a Markdown list."""
    recipe = group.runs[0].recipe
    seconds, _ = over_seeds(group, lambda run: run.seconds)
    lines = [
        f"method: {_row(recipe.method)}",
        f"loss: {_row(recipe.loss)}",
        f"model: {recipe.model.name}",
        f"quantizers: weights {_row(recipe.weight_quantizer)}; activations {_row(recipe.act_quantizer)}",
        f"quantizer setup: {recipe.quant_setup}",
        f"operands of products: {recipe.precision}",
        f"oscillation: {_row(recipe.oscillation)}",
        f"accuracies measured on: {recipe.data.evaluate_on} images",
        f"seeds: {seeds_of(group)}",
        f"time of a run: {seconds:.0f} s",
        f"commit: {', '.join(sorted({run.commit for run in group.runs}))}",
        f"machine: {', '.join(sorted({run.machine for run in group.runs}))}",
        f"folders: {', '.join(f'`{run.folder}`' for run in group.runs)}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _row(part: Part) -> str:
    """A part as text, e.g. 'ewc (strength=5.0)'; without arguments 'ewc'."""
    arguments = ", ".join(f"{name}={value}" for name, value in part.args.items())
    return part.name + (f" ({arguments})" if arguments else "")
