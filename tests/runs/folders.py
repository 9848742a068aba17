"""Run folders with chosen numbers, written by what training writes them with."""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.metrics.continual import continual_metrics
from lifeq_jax.report.groups import group_runs
from lifeq_jax.runs.columns import CLASSES, CONFUSION, DISTANCES, LAYERS, METRICS, file_columns
from lifeq_jax.runs.folder import open_run_folder, write_summary
from lifeq_jax.runs.read import read_run
from lifeq_jax.runs.write import RunFiles, class_rows, confusion_rows, distance_row, layer_rows

MATRIX = [[0.9, 0.1, 0.0], [0.95, 0.8, 0.2], [0.5, 0.85, 0.7]]
SHARES = {"oscillating": [0.004, 0.01, 0.02, 0.002], "frozen": [0.0, 0.1, 0.2, 0.3]}  # of the last four epochs
BIN = {("float", 1): 5, ("four", 1): 0, ("four", 2): 10}  # where all 8 tracked weights lie, by stage and epoch
SIZES = {0: (400, 150, 50, 10), 1: (400, 150, 50, 10), 2: (300, 80, 30, 0)}  # task -> training images of classes 1 to 4
EQUAL = dict.fromkeys(range(3), (50,) * 4)
CORRECT = {0: (18, 16, 10, 2), 1: (20, 14, 12, 4), 2: (20, 10, 8, 0)}  # of 20 images each, after the last task
SIZES_OF_LAYERS = {"stem/dense": [8, None, 12], "stem/act": [None, 4, 0], "classifier/dense": [32, 32, 60]}
LAYER_BITS = {  # layer -> values, mean frozen bits of 20 after each task, units, dead units after each task
    "stem/dense/kernel": (12, (2, 4, 6), 3, (2, 1, 0)),
    "stem/dense/bias": (3, (0, 1, 2), None, None),
    "blocks_0/dense/kernel": (6, (1, 3, 8), 2, (1, 1, 1)),
}


def recipe(name="digits", seed=0, method="finetune", tasks=3, **args):
    """Two stages: 32 bits on task 0, 4 bits on all tasks, two epochs each."""
    data = Data("root", "csv", tasks, 10, (8, 8, 1), (8, 8), pad=1, flip=False, mean=(0.5,), std=(0.5,))
    stages = (
        Stage("float", 32, 32, epochs=2, learning_rate=0.1, tasks=1),
        Stage("four", 4, 4, epochs=2, learning_rate=0.1),
    )
    return Recipe(name, data, Part("resnet20"), stages, method=Part(method, args), seed=seed)


def make_run(
    folder: Path,
    config: Recipe | None = None,
    matrix=MATRIX,
    *,
    lower: float | None = None,
    first: int = 0,
    sizes=EQUAL,
    lost: int = 0,
    more: int | None = None,
    finished: bool = True,
) -> Path:
    """A run folder whose accuracy matrix is `matrix`; accuracy is evaluated at each task's last epoch.

    Args:
        lower: oscillations are tracked, and before re-estimation accuracies are lower by this share of their value;
            None: neither is measured.
        first: bin of the tracked weights in the first epoch of the last stage.
        sizes: as SIZES. Class 0 is trained on in task 0 and never scored.
        lost: of the CORRECT images of each class, but never below 0; before the end, nothing is right.
        more: layers are measured, LAYER_BITS and `more` bits of each value; None: they are not.
        finished: a run that is not has the rows of its epochs, and no summary.json."""
    config, last = config or recipe(), len(matrix) - 1
    open_run_folder(folder, config)
    files = RunFiles(folder, file_columns(config.data.num_tasks))
    files.begin({})
    places = [(stage.name, task) for stage in config.stages for task in range(stage.tasks or last + 1)]
    for number, (stage, task) in enumerate(places):
        for epoch in (1, 2):
            row = dict(stage=stage, task=task, epoch=epoch)
            tracked = 2 * number + epoch - 1 - (2 * len(places) - 4)  # place in SHARES
            measured = {f"accuracy_{other}": value for other, value in enumerate(matrix[task]) if epoch == 2}
            if lower is not None:
                running = {f"running_{name}": (1 - lower) * value for name, value in measured.items()}
                shares = {name: values[tracked] for name, values in SHARES.items() if tracked >= 0}
                measured |= running | shares
                if task == 0 and (place := BIN | {("four", 1): first}).get((stage, epoch)) is not None:
                    files.append(DISTANCES, distance_row(row, 8 * np.eye(20, dtype=int)[place[stage, epoch]]))
            speed = {"images_per_second": 100.0 * epoch, "state_megabytes": 2.5}
            files.append(METRICS, row | {"loss": 0.5} | speed | measured)
        ends = (stage, task) == ("four", last)
        for other in range(last + 1):
            known, confusion = _classes(other, sizes, lost if ends else 20)
            files.append(CLASSES, *class_rows(stage, task, other, known, confusion))
            files.append(CONFUSION, *confusion_rows(stage, task, other, confusion))
        if more is not None:
            files.append(LAYERS, *layer_rows(stage, task, _layers(task if stage == "four" else 2, more)))
    files.close()
    if finished:
        write_summary(folder, summary(config, matrix), np.array(matrix))
    return folder


def summary(config: Recipe, matrix) -> dict:
    """The content of summary.json."""
    stages = {stage.name: matrix[0 if stage.tasks == 1 else -1] for stage in config.stages}
    return {
        "finished": True,
        **dict(name=config.name, seed=config.seed, method=config.method.name, loss=config.loss.name, stages=stages),
        "metrics": continual_metrics(np.array(matrix)) | {"balanced_accuracy": float(np.mean(matrix[-1]))},
        **dict(seconds=61.5, peak_megabytes=250.0, commit="abc1234", machine="2 cores"),
        "network": {"parameters": 1000, "bytes": 1250, "layers": SIZES_OF_LAYERS},
    }


def _classes(task, sizes, lost):
    """Training images (10,) of each class, confusion (10, 10); a class is mistaken for the next."""
    known, confusion = np.zeros(10, int), np.zeros((10, 10), int)
    known[0] = 7 if task == 0 else 0
    known[1:5] = sizes[task]
    for label, right in enumerate(CORRECT[task], start=1):
        right = max(0, right - lost)
        confusion[label, label : label + 2] = right, 20 - right
    return known, confusion


def _layers(task, more):
    """Of the network's 420 bits 30, 69 and 126 are frozen where `more` is 0, of its 5 units 3, 2 and 1 are dead."""
    measured = {}
    for layer, (values, bits, units, dead) in LAYER_BITS.items():
        mean = float(bits[task] + more)
        measured[layer] = dict(bits=mean, capacity=mean / 20, values=float(values))
        measured[layer] |= dict(units=float(units), dead_units=float(dead[task])) if units else {}
    return measured


def make_group(folder: Path, config: Recipe | None = None, *seeds: dict):
    """One group of runs in folders of their own, seed by seed with these arguments of make_run; one where none are."""
    config = config or recipe()
    (group,) = group_runs(
        [
            read_run(make_run(folder / f"{config.name}{seed}", dataclasses.replace(config, seed=seed), **arguments))
            for seed, arguments in enumerate(seeds or [{}])
        ]
    )
    return group


def rewrite(path: Path, change) -> None:
    """Replaces each row of a CSV file by change(row as {heading: text}); None drops it."""
    with path.open(newline="") as file:
        rows = [changed for row in csv.DictReader(file) if (changed := change(row)) is not None]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
