"""CSV files of images and labels, the tasks made of them, and the rows that a network trains on."""

import csv
import hashlib
import io
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.files import write_whole

COLUMNS = ("image", "label")
SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST_LABEL = 2**31 - 1
TRAIN_CSV = re.compile(r"(.+)_train(.*)\.csv")


class Table(NamedTuple):
    """The n rows of one CSV file, in file order."""

    path: np.ndarray  # (n,) str, relative to the image root, "/" between parts
    label: np.ndarray  # (n,) int32


class Task(NamedTuple):
    """The CSV files of one task."""

    train: Table
    test: Table
    replay: Table | None  # rows of `train` kept for later tasks; None where replay is off


class Catalog(NamedTuple):
    """Every image that some tables name, once."""

    paths: tuple[str, ...]  # sorted


class Rows(NamedTuple):
    """n examples of a catalog, as a training plan addresses them."""

    index: np.ndarray  # type: ignore[assignment]  # (n,) int32 into Catalog.paths; hides tuple.index
    label: np.ndarray  # (n,) int32
    task: np.ndarray  # (n,) int32, the task whose CSV the row comes from
    is_replay: np.ndarray  # (n,) bool


def table_of(paths: Sequence[str], labels: Sequence[int]) -> Table:
    """A Table from plain sequences of equal length, which may be empty."""
    return Table(np.array(paths, dtype=np.str_), np.array(labels, dtype=np.int32))


def select(table: Table, rows: np.ndarray) -> Table:
    """The given rows (integers or a mask), in the given order."""
    return Table(table.path[rows], table.label[rows])


def concat_tables(tables: Sequence[Table]) -> Table:
    """All rows, table after table; at least one table."""
    return Table(np.concatenate([t.path for t in tables]), np.concatenate([t.label for t in tables]))


def read_table(
    csv_path: Path, *, num_classes: int | None = None, root: Path | None = None, allow_empty: bool = False
) -> Table:
    """Reads a CSV with the columns `image` and `label`, in any order; other columns and blank lines are
    ignored.

    Refuses, with the file and the row (the header is row 1): a file that is missing or not UTF-8 CSV, a
    missing column, a row of another length than the header, a path that is empty, absolute or leaves the
    root, a label that is not an integer in [0, num_classes), no rows at all unless `allow_empty`, and, where
    `root` is given, a path that is no file under it."""
    reader = csv.reader(io.StringIO(_text(csv_path), newline=""), strict=True)
    try:
        image, label, width = _columns(csv_path, next(reader, []))
        paths, labels = [], []
        for row in reader:
            if not row:
                continue
            where = f"{csv_path}, row {reader.line_num}"
            if len(row) != width:
                raise Refusal(f"{where}: {len(row)} values where the header has {width}")
            paths.append(_image_path(row[image], where, root))
            labels.append(_label(row[label], where, num_classes))
    except csv.Error as error:
        raise Refusal(f"{csv_path}, row {reader.line_num}: not readable as CSV ({error})") from None
    if not paths and not allow_empty:
        raise Refusal(f"{csv_path}: no rows under the header {','.join(COLUMNS)}")
    return table_of(paths, labels)


def write_table(csv_path: Path, table: Table) -> None:
    """Writes the CSV whole or not at all, with the header `image,label`; refuses a folder that cannot be
    written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(table.path.tolist(), table.label.tolist(), strict=True))
    write_whole(Path(csv_path), text.getvalue())


def list_images(root: Path, split: str) -> tuple[list[str], Table]:
    """The classes and images of `<root>/<split>/<class>/<file>`, or, where `split` is empty, of
    `<root>/<class>/<file>`.

    Class names are sorted as strings ("10" before "2", as the originals do) and a label is the index in that
    list; the rows go class by class, files sorted. Refuses a missing root or split (naming those that exist),
    a split without class folders, and a class folder without .png, .jpg or .jpeg files."""
    folder = Path(root) / split
    if not folder.is_dir():
        present = ", ".join(subfolders(root)) or "none"
        raise Refusal(f"{folder} is not a folder; splits under {root}: {present}")
    classes = subfolders(folder)
    if not classes:
        raise Refusal(f"{folder} has no class folders; expected <class>/<file> with {', '.join(SUFFIXES)}")
    files = [image_files(folder / name) for name in classes]
    paths = [posixpath.join(split, name, file) for name, inside in zip(classes, files, strict=True) for file in inside]
    return classes, table_of(paths, [label for label, inside in enumerate(files) for _ in inside])


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted; hidden ones left out; none where it is no folder."""
    if not Path(folder).is_dir():
        return []
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def image_files(folder: Path) -> list[str]:
    """Names of the image files in `folder`, sorted; refuses a folder that has none."""
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(SUFFIXES) and not n.startswith("."))
    if not names:
        raise Refusal(f"{folder} has no images; expected files ending in {', '.join(SUFFIXES)}")
    return names


def task_csv(prefix: Path, kind: str, task: int | None = None) -> Path:
    """The path `<prefix>_<kind><task>.csv`; kind is train, test or replay; without a task, the CSV of all
    tasks.

    A prefix that is itself the name of a train CSV, `<name>_train<ending>.csv`, means a single task: that file
    and, for test, `<name>_test<ending>.csv` or, where that does not exist, `<name>_test.csv`. Refuses further
    tasks of it, and its replay."""
    if is_train_csv(prefix):
        return _single_task_csv(Path(prefix), kind, task)
    return Path(f"{prefix}_{kind}{'' if task is None else task}.csv")


def is_train_csv(prefix: Path) -> bool:
    """Whether a prefix is the name of one train CSV, as `cifar10_train200.csv` is."""
    return TRAIN_CSV.fullmatch(Path(prefix).name) is not None


def task_csvs(prefix: Path, num_tasks: int, *, replay: bool) -> tuple[Path, ...]:
    """All CSV files that `load_tasks` reads."""
    kinds = ("train", "test", "replay") if replay else ("train", "test")
    return tuple(task_csv(prefix, kind, task) for task in range(num_tasks) for kind in kinds)


def load_tasks(prefix: Path, num_tasks: int, *, root: Path | None, num_classes: int, replay: bool) -> tuple[Task, ...]:
    """Reads `<prefix>_train{i}.csv`, `_test{i}.csv` and, where `replay`, `_replay{i}.csv` for i < num_tasks.

    Refuses what `read_table` refuses (a replay CSV may be empty), replay files for another number of tasks,
    and a replay row that is not in the train CSV of its task."""

    def read(kind: str, task: int) -> Table:
        path = task_csv(prefix, kind, task)
        return read_table(path, num_classes=num_classes, root=root, allow_empty=kind == "replay")

    if replay:
        _check_replay_files(prefix, num_tasks)
    tasks = []
    for i in range(num_tasks):
        task = Task(read("train", i), read("test", i), read("replay", i) if replay else None)
        if task.replay is not None:
            _check_replay_rows(task_csv(prefix, "replay", i), task.replay, task.train)
        tasks.append(task)
    return tuple(tasks)


def catalog(tables: Iterable[Table]) -> Catalog:
    """The sorted union of the tables' paths."""
    return Catalog(tuple(sorted(set().union(*(table.path.tolist() for table in tables)))))


def rows_of(known: Catalog, table: Table, task: int, is_replay: bool) -> Rows:
    """The rows of one table, marked with the task they come from; every path must be in the catalog."""
    place = {path: index for index, path in enumerate(known.paths)}
    index = np.array([place[path] for path in table.path.tolist()], dtype=np.int32)
    num = len(index)
    return Rows(index, table.label, np.full(num, task, np.int32), np.full(num, is_replay, np.bool_))


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """All rows, part after part; at least one part."""
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def training_rows(known: Catalog, tasks: Sequence[Task], task: int) -> Rows:
    """What task `task` trains on: its train CSV, then replay_0 .. replay_{task-1} where replay is on."""
    parts = [rows_of(known, tasks[task].train, task, False)]
    for old in range(task):
        replay = tasks[old].replay
        if replay is not None:
            parts.append(rows_of(known, replay, old, True))
    return concat_rows(parts)


def split_validation(table: Table, fraction: float, seed: int) -> tuple[Table, Table]:
    """(train, validation) rows, about `fraction` of them in the second.

    An image's side depends on its path and the seed alone: it is the same in every CSV, replay included, and
    in every process. Refuses a fraction outside [0, 1)."""
    if not 0 <= fraction < 1:
        raise Refusal(f"validation fraction {fraction} is out of range; choose from [0, 1)")
    held = np.array([_place(path, seed) < fraction for path in table.path.tolist()], dtype=np.bool_)
    return select(table, ~held), select(table, held)


def class_counts_of(rows: Rows, num_classes: int) -> np.ndarray:
    """Number of rows of each class, (num_classes,) float32."""
    return np.bincount(rows.label, minlength=num_classes).astype(np.float32)


def _single_task_csv(train: Path, kind: str, task: int | None) -> Path:
    name, ending = TRAIN_CSV.fullmatch(train.name).groups()  # type: ignore[union-attr]
    if task or kind == "replay":
        raise Refusal(f"{train} is the train CSV of one task: num_tasks must be 1, without replay (data.replay=False)")
    own = train.with_name(f"{name}_{kind}{ending}.csv")
    return own if own.exists() or kind == "train" else train.with_name(f"{name}_{kind}.csv")


def _place(path: str, seed: int) -> float:
    """A number in [0, 1] that Python's own salted hash() would not repeat in another process."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest(), "big") / 2**64


def _text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 text (byte {error.start})") from None


def _columns(path: Path, header: list[str]) -> tuple[int, int, int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            header_line = ",".join(names)[:80]
            raise Refusal(f"{path}, row 1: header {header_line!r} needs one column {column!r} (image,label)")
    return names.index("image"), names.index("label"), len(names)


def _image_path(value: str, where: str, root: Path | None) -> str:
    path = posixpath.normpath(value)
    if path == "." or "\0" in path:
        raise Refusal(f"{where}: {value[:80]!r} is not an image path")
    if path.startswith(("/", "../")) or path == "..":
        raise Refusal(f"{where}: {value[:80]!r} leaves the image root; paths are relative to it")
    if root is not None and not os.path.isfile(os.path.join(root, path)):
        raise Refusal(f"{where}: {value[:80]!r} is not a file under {root}")
    return path


def _label(value: str, where: str, num_classes: int | None) -> int:
    text = value.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise Refusal(f"{where}: label {value[:40]!r} is not an integer")
    largest = LARGEST_LABEL if num_classes is None else num_classes - 1
    if not 0 <= int(text) <= largest:
        raise Refusal(f"{where}: label {text} is out of range; choose from 0 to {largest}")
    return int(text)


def _check_replay_files(prefix: Path, num_tasks: int) -> None:
    pattern = re.compile(re.escape(Path(prefix).name) + r"_replay([0-9]+)\.csv")
    folder = task_csv(prefix, "replay", 0).parent
    names = os.listdir(folder) if folder.is_dir() else []
    found = sorted(int(match[1]) for match in map(pattern.fullmatch, names) if match)
    if found != list(range(num_tasks)):
        there = ", ".join(map(str, found)) or "none"
        raise Refusal(f"{prefix}_replay{{i}}.csv: {num_tasks} tasks need i = 0 to {num_tasks - 1}; found: {there}")


def _check_replay_rows(path: Path, replay: Table, train: Table) -> None:
    known = set(zip(train.path.tolist(), train.label.tolist(), strict=True))
    for image, label in zip(replay.path.tolist(), replay.label.tolist(), strict=True):
        if (image, label) not in known:
            raise Refusal(f"{path}: {image!r} with label {label} is not in the train CSV of its task")
