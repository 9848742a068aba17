"""The numbers of a run about oscillating weights and batch-norm re-estimation."""

from typing import NamedTuple

import numpy as np

from lifeq_jax.report.groups import Group
from lifeq_jax.runs.read import Run

MEANINGS = {
    "accuracy_before_reestimation": "average accuracy after the last epoch with the running batch-norm statistics",
    "oscillating": "share of tracked weights that oscillate after the last epoch: frequency above 0.005, not frozen",
    "frozen": "share of tracked weights that are frozen after the last epoch",
}


def at_end(run: Run) -> dict[str, float]:
    """The numbers of MEANINGS, as shares; NaN: not measured."""
    tasks = len(run.matrix)
    return {
        "accuracy_before_reestimation": float(run.history.running_accuracy[-1, :tasks].mean()),
        "oscillating": float(run.history.oscillating[-1]),
        "frozen": float(run.history.frozen[-1]),
    }


def is_tracked(group: Group) -> bool:
    """Whether any run of the group has shares of oscillating or frozen weights."""
    return any(np.isfinite([run.history.oscillating, run.history.frozen]).any() for run in group.runs)


def reestimated(run: Run) -> dict[tuple[str, int], tuple[float, float]]:
    """{(stage, task): accuracy before and after batch-norm re-estimation}, where the task's last epoch has both.

    Each is the mean over the tasks trained so far in the stage."""
    history = run.history
    both = {}
    for row, (stage, task) in enumerate(zip(history.stage, history.task, strict=True)):
        seen = slice(task + 1)
        both[stage, task] = (
            float(history.running_accuracy[row, seen].mean()),
            float(history.accuracy[row, seen].mean()),
        )
    return {place: values for place, values in both.items() if np.isfinite(values).all()}


class DistanceEnds(NamedTuple):
    """Distances of weights from their codes after the first and after the last epoch of the last stage."""

    first: np.ndarray  # (BINS,) float64, shares of the tracked weights, mean over the runs
    last: np.ndarray  # (BINS,) float64, as `first`
    labels: tuple[str, str]  # 'task 1, epoch 1', the first run's


def distance_ends(group: Group) -> DistanceEnds | None:
    """Means over the runs of a group that tracked weights in the last stage; None if no run did."""
    ends = [end for run in group.runs if (end := _ends_of(run))]
    if not ends:
        return None
    first = np.mean([end.first for end in ends], axis=0)
    return DistanceEnds(first, np.mean([end.last for end in ends], axis=0), ends[0].labels)


def _ends_of(run: Run) -> DistanceEnds | None:
    distances, last_stage = run.distances, run.recipe.stages[-1].name
    totals = distances.counts.sum(axis=1)
    rows = [row for row, stage in enumerate(distances.stage) if stage == last_stage and totals[row]]
    if not rows:
        return None
    ends = rows[0], rows[-1]
    first, last = (distances.counts[row] / totals[row] for row in ends)
    before, after = (f"task {distances.task[row] + 1}, epoch {distances.epoch[row]}" for row in ends)
    return DistanceEnds(first, last, (before, after))
