"""Writes the CSV files and TensorBoard events of a run folder, so that a killed run goes on where it stood."""

import csv
import hashlib
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import METRICS

Row = Mapping[str, Any]
KEPT = "the same command resumes at the last checkpoint once it can"
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
        try:
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise Refusal(f"{self._path} cannot be written: {error.strerror}; {KEPT}") from None
        self._size += len(data)
        self._digest.update(data)


class RunFiles:
    """CSV files by name, of which metrics.csv is one, and its numbers as TensorBoard events, numbered by row.

    `columns`: those of each file (runs.columns). Of several processes one `writes`; the others call the same functions
    without effect."""

    def __init__(self, folder: Path, columns: Mapping[str, Sequence[str]], writes: bool = True):
        self._folder = folder
        self._files = {name: RowFile(folder / name, wanted) for name, wanted in columns.items()} if writes else {}
        self._events: Any = None
        self._rows = 0

    def begin(self, marks: Mapping[str, Mark]) -> None:
        """Opens the files for appending, as RowFile.begin does, with each file's mark; {}: new files."""
        if not self._files:
            return
        rows = {name: file.begin(marks.get(name)) for name, file in self._files.items()}
        self.close()
        self._rows = rows[METRICS]
        # its files are named by the second, and a stage may be shorter
        suffix = f".{self._rows}"
        self._events = _events(self._folder / "tensorboard", suffix)
        self._add(step=self._rows + 1, session_log={"status": 1})  # START: drops what an earlier process wrote after it

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
        values = [
            {"tag": f"{row['stage']}/{name}", "simple_value": value}
            for name, value in row.items()
            if isinstance(value, float)
        ]
        self._add(step=self._rows, summary={"value": values})

    def _add(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(wall_time=time.time(), **fields))
        self._events.flush()

    def close(self) -> None:
        """Closes the file of events."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _events(folder: Path, suffix: str) -> Any:
    """A file of events, written at once: a thread that writes later would fail unseen, and a kill lose rows."""
    from tensorboardX.event_file_writer import EventsWriter

    folder.mkdir(exist_ok=True)
    return EventsWriter(str(folder / "events"), suffix)


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
