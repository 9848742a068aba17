"""Run folders as training leaves them, with chosen numbers."""

import csv
import json
from pathlib import Path

from lifeq_jax.core.config import Data, Part, Recipe, Stage, to_json

MATRIX = [[0.9, 0.1, 0.0], [0.95, 0.8, 0.2], [0.5, 0.85, 0.7]]


def recipe(name="digits", seed=0, method="finetune", tasks=3, **args):
    """Two stages: 32 bits on task 0, 4 bits on all tasks, two epochs each."""
    data = Data("root", "csv", tasks, 10, (8, 8, 1), (8, 8), pad=1, flip=False, mean=(0.5,), std=(0.5,))
    stages = (
        Stage("float", 32, 32, epochs=2, learning_rate=0.1, tasks=1),
        Stage("four", 4, 4, epochs=2, learning_rate=0.1),
    )
    return Recipe(name, data, Part("resnet20"), stages, method=Part(method, args), seed=seed)


def write_run(folder: Path, config: Recipe | None = None, matrix=MATRIX) -> Path:
    """A finished run folder whose accuracy matrix is `matrix`; accuracy is evaluated at each task's last epoch."""
    config = config or recipe()
    folder.mkdir(parents=True)
    tasks = [f"task_{task}" for task in range(len(matrix))]
    lines = [tasks, *([repr(value) for value in row] for row in matrix)]
    (folder / "accuracy_matrix.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    (folder / "config.json").write_text(to_json(config))
    columns = ["stage", "task", "epoch", "loss", *(f"accuracy_{task}" for task in range(len(matrix)))]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for stage, task in [("float", 0), *(("four", task) for task in range(len(matrix)))]:
            writer.writerow([stage, task, 1, 0.7, *[""] * len(matrix)])
            writer.writerow([stage, task, 2, 0.5, *matrix[task]])
    summary = {
        "finished": True,
        "stages": {"float": matrix[0], "four": matrix[-1]},
        "seconds": 61.5,
        "commit": "abc1234",
        "machine": "2 cores",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


SHARES = {"oscillating": [0.004, 0.01, 0.02, 0.002], "frozen": [0.0, 0.1, 0.2, 0.3]}  # of the last four epochs


def rewrite(path: Path, change) -> None:
    """Replaces the header and each row of a CSV file by change(row as {heading: text})."""
    with path.open(newline="") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def add_oscillation(folder: Path, loss=0.25, first=0) -> Path:
    """Adds what a run with tracking and re-estimation writes: SHARES in the last four epochs; accuracies before
    re-estimation that are lower by `loss` of their value; distances, all in bin `first` and later all in the middle."""
    epochs = [{name: shares[row] for name, shares in SHARES.items()} for row in range(4)]
    with (folder / "metrics.csv").open() as file:
        untracked = len(file.readlines()) - 1 - len(epochs)
    numbers = iter([dict.fromkeys(SHARES, "")] * untracked + epochs)

    def extend(row):
        measured = {name: value for name, value in row.items() if name.startswith("accuracy_")}
        running = {f"running_{name}": value and (1 - loss) * float(value) for name, value in measured.items()}
        return row | next(numbers) | running

    rewrite(folder / "metrics.csv", extend)
    lines = [["stage", "task", "epoch", *(f"bin_{number}" for number in range(20))]]
    for stage, epoch, place in [("float", 1, 5), ("four", 1, first), ("four", 2, 7), ("four", 3, 10)]:
        lines.append([stage, 0, epoch, *(8 if number == place else 0 for number in range(20))])
    (folder / "weight_distance.csv").write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    return folder


SIZES = {0: (400, 150, 50, 10), 1: (400, 150, 50, 10), 2: (300, 80, 30, 0)}  # task -> training images of classes 1 to 4
CORRECT = {0: (18, 16, 10, 2), 1: (20, 14, 12, 4), 2: (20, 10, 8, 0)}  # of 20 images each, after the last task
CLASS_HEADER = "stage,after,task,class,train_images,images,correct"


def add_classes(folder: Path, lost=0, sizes=SIZES, tasks=3) -> Path:
    """Adds per_class.csv: at the end CORRECT less `lost` of each class, but never below 0; before the end, nothing is
    right. Class 0 is trained on in task 0 and never scored."""
    lines = [CLASS_HEADER]
    for stage, after in [("float", 0), *(("four", after) for after in range(tasks))]:
        for task in range(tasks):
            lines += [f"{stage},{after},{task},0,7,0,0"] if task == 0 else []
            ends = (stage, after) == ("four", tasks - 1)
            for label, (known, right) in enumerate(zip(sizes[task], CORRECT[task], strict=True), start=1):
                lines.append(f"{stage},{after},{task},{label},{known},20,{max(0, right - lost) if ends else 0}")
    (folder / "per_class.csv").write_text("\n".join(lines) + "\n")
    return folder


LAYER_HEADER = "stage,after,layer,quantity,value"
LAYER_BITS = {  # layer -> values, mean frozen bits of 20 after each task, units, dead units after each task
    "stem/dense/kernel": (12, (2, 4, 6), 3, (2, 1, 0)),
    "stem/dense/bias": (3, (0, 1, 2), None, None),
    "blocks_0/dense/kernel": (6, (1, 3, 8), 2, (1, 1, 1)),
}


def add_layers(folder: Path, more=0) -> Path:
    """Adds layers.csv: LAYER_BITS and `more` bits of each value; in the stage before, as after the last task.

    Of the network's 420 bits 30, 69 and 126 are frozen, of its 5 units 3, 2 and 1 are dead."""
    lines = [LAYER_HEADER]
    for stage, after in [("float", 0), *(("four", after) for after in range(3))]:
        for layer, (values, bits, units, dead) in LAYER_BITS.items():
            mean = bits[after if stage == "four" else 2] + more
            found = {"bits": mean, "capacity": mean / 20, "values": values}
            if units:
                found |= {"units": units, "dead_units": dead[after if stage == "four" else 2]}
            lines += [f"{stage},{after},{layer},{name},{float(value)}" for name, value in found.items()]
    (folder / "layers.csv").write_text("\n".join(lines) + "\n")
    return folder
