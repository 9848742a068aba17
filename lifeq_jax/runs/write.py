"""Writes the CSV files and TensorBoard events of a run folder, so that a killed run can resume."""

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
            mark: the end of the file at the time of the checkpoint that the run resumes from; None: a new file.

        Raises:
            Refusal: the file has changed before the mark."""
        if mark is None:
            self._path.write_bytes(b"")
            self._write([self._columns])
            return 0
        known = self._known(mark)
        self._size, self._digest = len(known), hashlib.sha256(known)
        os.truncate(self._path, len(known))  # in place: a kill leaves the file longer than the mark, never shorter
        return len(_lines(known)) - 1

    def _known(self, mark: Mark) -> bytes:
        """The file up to the mark. Refuses as `begin`."""
        size, _ = mark
        known = self._path.read_bytes()[:size] if self._path.is_file() else b""
        if _mark(known) != mark:
            raise Refusal(
                f"{self._path} is not what it was when the newest checkpoint was written: rows are missing, doubled or "
                "changed; put it back, or start anew in another --run folder"
            )
        return known

    def mark_without(self, mark: Mark, values: Mapping[str, str]) -> Mark:
        """The mark before the rows at the end that have some values. Refuses as `begin`."""
        lines = _lines(self._known(mark))
        while lines[1:] and values.items() <= dict(zip(self._columns, lines[-1], strict=True)).items():
            lines.pop()
        return _mark(_text(lines))

    def append(self, *rows: Row) -> None:
        """Writes rows immediately; a column that a row lacks stays empty."""
        for row in rows:
            if unknown := row.keys() - set(self._columns):
                raise ValueError(f"{self._path.name} has no column {min(unknown)!r}")
        self._write([row.get(name, "") for name in self._columns] for row in rows)

    def mark(self) -> Mark:
        """The current end of the file."""
        return [self._size, self._digest.hexdigest()]

    def _write(self, lines: Iterable[Iterable[Any]]) -> None:
        data = _text(lines)
        try:
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise Refusal(f"{self._path} cannot be written: {error.strerror}; {KEPT}") from None
        self._size += len(data)
        self._digest.update(data)


def _text(lines: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _lines(text: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text.decode(), newline="")))


def _mark(text: bytes) -> Mark:
    return [len(text), hashlib.sha256(text).hexdigest()]


class RunFiles:
    """The CSV files of a run by name, and the numbers of metrics.csv as TensorBoard events, numbered by row.

    `columns`: the columns of each file (runs.columns). Only one of several processes `writes`; in the others all
    methods do nothing."""

    def __init__(self, folder: Path, columns: Mapping[str, Sequence[str]], writes: bool = True):
        self._folder = folder
        self._files = {name: RowFile(folder / name, wanted) for name, wanted in columns.items()} if writes else {}
        self._events: Any = None
        self._rows = 0

    def begin(self, marks: Mapping[str, Mark]) -> None:
        """Opens the files for appending at their marks, as by RowFile.begin; {}: new files."""
        if not self._files:
            return
        rows = {name: file.begin(marks.get(name)) for name, file in self._files.items()}
        self.close()
        self._rows = rows[METRICS]
        # its file names have a resolution of one second, and a stage may be shorter
        suffix = f".{self._rows}"
        self._events = _events(self._folder / "tensorboard", suffix)
        self._add(step=self._rows + 1, session_log={"status": 1})  # START: drops what an earlier process wrote after it

    def marks(self) -> dict[str, Mark]:
        """The current end of each file."""
        return {name: file.mark() for name, file in self._files.items()}

    def mark_without(self, name: str, marks: Mapping[str, Mark], values: Mapping[str, str]) -> dict[str, Mark]:
        """{name: the mark before the rows at the file's end that have some values}. Refuses as `begin`."""
        return {name: self._files[name].mark_without(marks[name], values)} if self._files else {}

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
        # not tensorboardX's own `scalar`: some of its versions replace characters of the tag
        from tensorboardX.proto.summary_pb2 import Summary

        for name, value in row.items():
            if isinstance(value, float):
                value = Summary.Value(tag=f"{row['stage']}/{name}", simple_value=value)
                self._add(step=self._rows, summary=Summary(value=[value]))
        self._events.flush()

    def _add(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(wall_time=time.time(), **fields))

    def close(self) -> None:
        """Closes the file of events."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _events(folder: Path, suffix: str) -> Any:
    """A file of events that is written immediately: a background thread could fail unnoticed, or lose rows in a
    kill."""
    from tensorboardX.event_file_writer import EventsWriter

    folder.mkdir(exist_ok=True)
    return EventsWriter(str(folder / "events"), suffix)


def distance_row(place: Row, counts: np.ndarray) -> Row:
    """A row of weight_distance.csv: counts (BINS,) of weights by their distance to the nearest code."""
    return {**place, **{f"bin_{number}": int(count) for number, count in enumerate(counts)}}


def layer_rows(stage: str, after: int, measured: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """The rows of layers.csv after training task `after`, from a method's `measure`, {leaf: {quantity: value}}."""
    return [
        dict(stage=stage, after=after, layer=layer, quantity=quantity, value=value)
        for layer, quantities in measured.items()
        for quantity, value in quantities.items()
    ]


def class_rows(stage: str, after: int, task: int, train_images: np.ndarray, confusion: np.ndarray) -> list[Row]:
    """The rows of per_class.csv of `task`, scored after training task `after`: one for each class with training or
    scored images.

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


def confusion_rows(stage: str, after: int, task: int, confusion: np.ndarray) -> list[Row]:
    """The rows of confusion.csv of `task`, scored after training task `after`: one for each pair that occurs.

    Args:
        confusion: (K, K) counts, row: the true class."""
    place = dict(stage=stage, after=after, task=task)
    return [
        place | {"class": int(label), "predicted": int(found), "images": int(confusion[label, found])}
        for label, found in np.argwhere(confusion)
    ]
