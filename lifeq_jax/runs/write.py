"""Writes the CSV files and TensorBoard events of a run folder, so that a killed run goes on where it stood."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import (
    CLASS_COLUMNS,
    CLASSES,
    DISTANCE_COLUMNS,
    DISTANCES,
    LAYER_COLUMNS,
    LAYERS,
    METRICS,
    metric_columns,
)

Row = Mapping[str, Any]
Mark = list  # [bytes, digest of them]: how far a file goes; JSON in a checkpoint


class RowFile:
    """A CSV file that grows a row at a time and can be cut back to an earlier `mark`."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path, self._columns = path, columns
        self._size, self._digest = 0, hashlib.sha256()

    def begin(self, mark: Mark | None) -> int:
        """Opens the file for appending and returns its number of rows.

        Args:
            mark: where the file ended when the checkpoint was written that the run goes on from; None: a new file.

        Raises:
            Refusal: the file is not, up to the mark, what it was then."""
        if mark is None:
            self._path.write_bytes(b"")
            self._write([self._columns])
            return 0
        size, digest = mark
        known = self._path.read_bytes()[:size] if self._path.is_file() else b""
        self._size, self._digest = len(known), hashlib.sha256(known)
        if self.mark() != [size, digest]:
            raise Refusal(
                f"{self._path} is not what it was when the newest checkpoint was written: rows are missing, doubled or "
                "changed; put it back, or start anew in another --run folder"
            )
        os.truncate(self._path, size)  # in place: a kill leaves the file longer than the mark, never shorter
        return sum(1 for _ in csv.reader(io.StringIO(known.decode(), newline=""))) - 1

    def append(self, *rows: Row) -> None:
        """Writes rows at once; a column that one lacks stays empty."""
        for row in rows:
            if unknown := row.keys() - set(self._columns):
                raise ValueError(f"{self._path.name} has no column {min(unknown)!r}")
        self._write([row.get(name, "") for name in self._columns] for row in rows)

    def mark(self) -> Mark:
        """Where the file ends now."""
        return [self._size, self._digest.hexdigest()]

    def _write(self, lines: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        data = text.getvalue().encode()
        with self._path.open("ab") as file:
            file.write(data)
        self._size += len(data)
        self._digest.update(data)


class RunFiles:
    """metrics.csv, weight_distance.csv, per_class.csv, layers.csv, and metrics.csv's numbers as TensorBoard events,
    numbered by row.

    Of several processes one `writes`; the others call the same functions without effect."""

    def __init__(self, folder: Path, num_tasks: int, writes: bool = True):
        columns = {
            METRICS: metric_columns(num_tasks),
            DISTANCES: DISTANCE_COLUMNS,
            CLASSES: CLASS_COLUMNS,
            LAYERS: LAYER_COLUMNS,
        }
        self._folder = folder
        self._files = {name: RowFile(folder / name, wanted) for name, wanted in columns.items()} if writes else {}
        self._events: Any = None
        self._rows = 0

    def begin(self, marks: Mapping[str, Mark]) -> None:
        """Opens the files for appending, as RowFile.begin does, with each file's mark; {}: new files."""
        if not self._files:
            return
        from tensorboardX import SummaryWriter

        rows = {name: file.begin(marks.get(name)) for name, file in self._files.items()}
        self.close()
        self._rows = rows[METRICS]
        # its files are named by the second, and a stage may be shorter
        suffix = f".{self._rows}"
        self._events = SummaryWriter(
            str(self._folder / "tensorboard"), purge_step=self._rows + 1, filename_suffix=suffix
        )

    def marks(self) -> dict[str, Mark]:
        """How far each file goes."""
        return {name: file.mark() for name, file in self._files.items()}

    def append(self, name: str, *rows: Row) -> None:
        """Writes rows of one of the files."""
        if not self._files:
            return
        self._files[name].append(*rows)
        if name == METRICS:
            for row in rows:
                self._rows += 1
                self._add_events(row)

    def _add_events(self, row: Row) -> None:
        for name, value in row.items():
            if isinstance(value, float):
                self._events.add_scalar(f"{row['stage']}/{name}", value, self._rows)

    def close(self) -> None:
        """Writes what TensorBoard still holds back."""
        if self._events is not None:
            self._events.close()
            self._events = None


def distance_row(place: Row, counts: np.ndarray) -> Row:
    """A row of weight_distance.csv: counts (BINS,) of weights by their distance to the nearest code."""
    return {**place, **{f"bin_{number}": int(count) for number, count in enumerate(counts)}}


def layer_rows(stage: str, after: int, measured: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """The rows of layers.csv after training task `after`: what a method's `measure` gives, by leaf and quantity."""
    return [
        dict(stage=stage, after=after, layer=layer, quantity=quantity, value=value)
        for layer, quantities in measured.items()
        for quantity, value in quantities.items()
    ]


def class_rows(stage: str, after: int, task: int, train_images: np.ndarray, confusion: np.ndarray) -> list[Row]:
    """The rows of per_class.csv of `task`, scored after training task `after`: one for each class that it trains on or
    is scored on.

    Args:
        train_images: (K,) training images of each class in the task's own data, without replay.
        confusion: (K, K) counts, row: the true class."""
    images, correct = confusion.sum(axis=1), np.diag(confusion)
    place = dict(stage=stage, after=after, task=task)
    return [
        place | {"class": label, "train_images": int(known), "images": int(scored), "correct": int(right)}
        for label, (known, scored, right) in enumerate(zip(train_images, images, correct, strict=True))
        if known or scored
    ]
