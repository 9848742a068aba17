"""The files of a run folder, other than checkpoints. `report` and `export` need nothing else."""

import csv
import fcntl
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.config import Recipe, read_recipe, to_json
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.oscillation import BINS
from lifeq_jax.train.mesh import is_writer

Row = dict[str, Any]
CLASS_COLUMNS = ("stage", "after", "task", "class", "train_images", "images", "correct")  # of per_class.csv


def open_run_folder(folder: Path, recipe: Recipe) -> None:
    """Makes the folder and writes config.json, one process for all; in one that is there, refuses another recipe than
    its own."""
    config = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.exists():
            _refuse_other_recipe(config, recipe)
        if is_writer():
            write_text(config, to_json(recipe))
    except OSError as error:
        raise Refusal(f"run folder {folder} cannot be written: {error.strerror}") from None


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the folder for this run while the block runs; the system lets go of it even when the process is killed.

    Refuses a folder that another run holds."""
    if not is_writer():
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(f"run folder {folder} is being written by another process") from None
        yield


def _refuse_other_recipe(config: Path, recipe: Recipe) -> None:
    before, now = _flat(json.loads(to_json(read_recipe(config)))), _flat(json.loads(to_json(recipe)))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise Refusal(
                f"run folder {config.parent} belongs to a recipe with {key}={before.get(key)!r}, "
                f"this one has {now.get(key)!r}; choose another --run folder"
            )


def _flat(tree: Any, key: str = "") -> dict[str, Any]:
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name: leaf for k, v in items for name, leaf in _flat(v, f"{key}.{k}" if key else str(k)).items()}
    return {key: tree}


def write_text(path: Path, text: str) -> None:
    """Replaces the file in one move: a reader or a kill sees the old text or the new, never a part."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


class RowFile:
    """A CSV file that grows a row at a time, and is cut back when a run is resumed."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path, self._columns = path, columns

    def begin(self, wanted: Callable[[dict[str, str]], bool]) -> int:
        """Keeps the rows of an earlier start for which wanted(row) is true and returns their number.

        A row that a kill left incomplete goes too."""
        rows = [row for row in read_metrics(self._path) if wanted(row)] if self._path.exists() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())
        return len(rows)

    def append(self, *rows: Row) -> None:
        """Writes rows at once; a column that one lacks stays empty."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerows(rows)


LAYER_COLUMNS = ("stage", "after", "layer", "quantity", "value")  # of layers.csv


def layer_rows(stage: str, after: int, found: dict[str, dict[str, Any]]) -> list[Row]:
    """The rows of layers.csv after training task `after`: what a method's `measure` has found, by leaf and quantity."""
    return [
        dict(stage=stage, after=after, layer=layer, quantity=quantity, value=float(value))
        for layer, quantities in found.items()
        for quantity, value in quantities.items()
    ]


ACCURACIES = ("accuracy", "balanced_accuracy", "running_accuracy")  # of metrics.csv, a column for each task


class Metrics:
    """metrics.csv, a row per epoch, and the same numbers as TensorBoard events numbered by row; weight_distance.csv,
    per_class.csv and layers.csv."""

    def __init__(self, folder: Path, num_tasks: int):
        self._folder = folder
        place = ["stage", "task", "epoch"]
        columns = [
            *(*place, "step", "loss", "penalty", "train_accuracy", "learning_rate"),
            *("images_per_second", "state_megabytes"),
            *(f"{kind}_{task}" for kind in ACCURACIES for task in range(num_tasks)),
            *("oscillating", "frozen"),
        ]
        self._file = RowFile(folder / "metrics.csv", columns)
        self._distances = RowFile(folder / "weight_distance.csv", [*place, *(f"bin_{bin}" for bin in range(BINS))])
        self._classes = RowFile(folder / "per_class.csv", CLASS_COLUMNS)
        self._layers = RowFile(folder / "layers.csv", LAYER_COLUMNS)
        self._events: Any = None
        self._rows = 0

    def begin(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Opens the files for appending, keeping the rows of an earlier start for which wanted(row) is true."""
        from tensorboardX import SummaryWriter

        self._rows = self._file.begin(wanted)
        self._distances.begin(wanted)
        self._classes.begin(wanted)
        self._layers.begin(wanted)
        self.close()
        self._events = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._rows + 1)

    def append(self, row: Row) -> None:
        """Writes one row of metrics.csv."""
        self._file.append(row)
        self._rows += 1
        for name, value in row.items():
            if isinstance(value, float):
                self._events.add_scalar(f"{row['stage']}/{name}", value, self._rows)

    def append_distances(self, place: Row, counts: np.ndarray) -> None:
        """Writes one row of weight_distance.csv: counts (BINS,) of weights by their distance to the nearest code."""
        self._distances.append(place | {f"bin_{bin}": int(count) for bin, count in enumerate(counts)})

    def append_classes(self, rows: Sequence[Row]) -> None:
        """Writes rows of per_class.csv."""
        self._classes.append(*rows)

    def append_layers(self, rows: Sequence[Row]) -> None:
        """Writes rows of layers.csv."""
        self._layers.append(*rows)

    def close(self) -> None:
        """Writes what TensorBoard still holds back."""
        if self._events is not None:
            self._events.close()


class NoMetrics(Metrics):
    """Writes nothing: what the processes that are not the writer have."""

    def begin(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Nothing."""

    def append(self, row: Row) -> None:
        """Nothing."""

    def append_distances(self, place: Row, counts: np.ndarray) -> None:
        """Nothing."""

    def append_classes(self, rows: Sequence[Row]) -> None:
        """Nothing."""

    def append_layers(self, rows: Sequence[Row]) -> None:
        """Nothing."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The complete rows of a metrics.csv, as text."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        return [row for row in reader if None not in row.values() and None not in row]


def write_matrix(folder: Path, matrix: np.ndarray) -> None:
    """accuracy_matrix.csv: row i, after training task i; column j, accuracy on task j, in 0..1."""
    lines = [",".join(f"task_{task}" for task in range(matrix.shape[1]))]
    lines += [",".join(repr(float(value)) for value in row) for row in matrix]
    write_text(folder / "accuracy_matrix.csv", "\n".join(lines) + "\n")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json: what the run ended with. Its presence says that the run is finished."""
    write_text(folder / "summary.json", json.dumps(summary, indent=2))


def write_seeds(folder: Path, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """seeds.json: over runs that differ in their seeds, mean and sample standard deviation of every metric. Returns its
    content; the deviation of one run is None."""

    def spread(name: str) -> dict[str, float | None]:
        values = [summary["metrics"][name] for summary in summaries]
        return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}

    found = {
        "name": summaries[0]["name"],
        "seeds": [summary["seed"] for summary in summaries],
        "metrics": {name: spread(name) for name in summaries[0]["metrics"]},
    }
    write_text(folder / "seeds.json", json.dumps(found, indent=2))
    return found


def machine() -> str:
    """Processor, core count and first accelerator, for the record of a result."""
    import jax

    device = jax.devices()[0]
    cores = f"{os.cpu_count()} cores {platform.machine()}"
    return cores if device.platform == "cpu" else f"{cores}, {jax.device_count()} x {device.device_kind}"


def commit() -> str:
    """Short hash of the source's commit, '+' appended where files differ from it; 'unknown' outside a checkout."""
    where = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
