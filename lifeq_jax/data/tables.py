"""CSV files of images and labels, the tasks made of them, and the rows that a network trains on."""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.files import write_whole
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.cells import COLUMNS, image_paths, labels_of, read_cells

TRAIN_CSV = re.compile(r"(.+)_train(.*)\.csv")


class ImageTable(NamedTuple):
    """The n rows of one CSV file, in file order."""

    path: np.ndarray  # (n,) str, relative to the image root, "/" between parts, or as the file has it
    label: np.ndarray  # (n,) int32


class Task(NamedTuple):
    """The CSV files of one task."""

    train: ImageTable
    test: ImageTable
    replay: ImageTable | None  # rows of `train` kept for later tasks; None where replay is off


class Catalog(NamedTuple):
    """All images that some tables name, each once."""

    paths: tuple[str, ...]  # sorted
    place: dict[str, int]  # path -> its index in `paths`


class Rows(NamedTuple):
    """n examples of a catalog; a Plan refers to them by position."""

    index: np.ndarray  # type: ignore[assignment]  # (n,) int32 into Catalog.paths; hides tuple.index
    label: np.ndarray  # (n,) int32
    task: np.ndarray  # (n,) int32, the task whose CSV the row comes from
    is_replay: np.ndarray  # (n,) bool


class TaskRows(NamedTuple):
    """The rows of one task's CSV files."""

    train: Rows
    test: Rows
    replay: Rows | None  # None where replay is off


class SeedRows(NamedTuple):
    """The rows of one task for one seed. Only `test` may share images with `validation`."""

    train: Rows  # `own`, then the replay of the tasks before
    own: Rows  # of the task's train CSV
    test: Rows
    validation: Rows  # held out of the task's train CSV; empty without a validation split
    replay: Rows | None  # of the task's replay CSV; None where replay is off


class BrokenImage(Refusal):
    """A refused image; `image` is its path in `root`."""

    def __init__(self, message: str, image: str, root: Path | None = None):
        super().__init__(message)
        self.image = image
        self.root = root


def table_of(paths: Sequence[str], labels: Sequence[int]) -> ImageTable:
    """An ImageTable from plain sequences of equal length, which may be empty."""
    return ImageTable(np.array(paths, dtype=np.str_), np.array(labels, dtype=np.int32))


def select_rows(table: ImageTable, rows: np.ndarray) -> ImageTable:
    """The given rows (integers or a mask), in the given order."""
    return ImageTable(table.path[rows], table.label[rows])


def concat_tables(tables: Sequence[ImageTable]) -> ImageTable:
    """All rows, table after table; at least one table."""
    return ImageTable(np.concatenate([t.path for t in tables]), np.concatenate([t.label for t in tables]))


def read_image_table(
    csv_path: Path, *, num_classes: int | None = None, root: Path | None = None, allow_empty: bool = False
) -> ImageTable:
    """Reads a CSV file by `read_cells`, `image_paths` and `labels_of`.

    Refuses, naming the file and the row (the header is row 1), what these refuse, and a file without rows unless
    `allow_empty`."""
    return _numbered(csv_path, num_classes, root, allow_empty)[0]


@contextmanager
def naming_rows(csvs: Iterable[Path]) -> Iterator[None]:
    """Adds, to the refusal of an image inside the block, the first row of `csvs` that lists it; the header is row 1."""
    try:
        yield
    except BrokenImage as error:
        for csv_path in csvs:
            table, numbers = _numbered(csv_path, None, error.root, allow_empty=True)
            listed = np.flatnonzero(table.path == error.image)
            if len(listed):
                raise Refusal(f"{csv_path}, row {numbers[listed[0]]}: {error}") from None
        raise


def write_table(csv_path: Path, table: ImageTable) -> None:
    """Writes the CSV atomically, with the header `image,label`; refuses a folder that cannot be written."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(table.path.tolist(), table.label.tolist(), strict=True))
    write_whole(Path(csv_path), text.getvalue())


def task_csv(prefix: Path, kind: str, task: int | None = None) -> Path:
    """The path `<prefix>_<kind><task>.csv`; kind is train, test or replay; without a task, the CSV of all
    tasks.

    A prefix that is the name of a train CSV, `<name>_train<ending>.csv`, means a single task: that file and, for test,
    `<name>_test<ending>.csv` or, if that does not exist, `<name>_test.csv`. Such a prefix has no further tasks and no
    replay; both are refused."""
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


def tasks_there(prefix: Path) -> tuple[int, bool]:
    """(number of tasks with any CSV file of a prefix, whether one is a replay file).

    Refuses a prefix without any of `_train0.csv`, `_test0.csv` and `_replay0.csv`, naming the train CSVs that begin
    with it."""
    if is_train_csv(prefix):
        return 1, False
    numbers = {kind: _numbers_there(prefix, kind) for kind in ("train", "test", "replay")}
    if not any(0 in found for found in numbers.values()):
        name = f"{Path(prefix).name}_train"
        single = sorted(path.name for path in Path(prefix).parent.glob("*.csv") if path.name.startswith(name))
        choices = f", or one of these CSV files: {', '.join(single)}" if single else ""
        raise Refusal(f"{task_csv(prefix, 'train', 0)} does not exist; give the prefix of a task set{choices}")
    return 1 + max(max(found, default=0) for found in numbers.values()), bool(numbers["replay"])


def load_tasks(
    prefix: Path, num_tasks: int, *, root: Path | None, num_classes: int | None, replay: bool
) -> tuple[Task, ...]:
    """Reads `<prefix>_train{i}.csv`, `_test{i}.csv` and, where `replay`, `_replay{i}.csv` for i < num_tasks.

    Refuses what `read_image_table` refuses (a replay CSV may be empty), replay files for another number of tasks,
    and a replay row that is not in the train CSV of its task."""

    def read(kind: str, task: int) -> ImageTable:
        path = task_csv(prefix, kind, task)
        return read_image_table(path, num_classes=num_classes, root=root, allow_empty=kind == "replay")

    if replay:
        _check_replay_files(prefix, num_tasks)
    tasks = []
    for i in range(num_tasks):
        task = Task(read("train", i), read("test", i), read("replay", i) if replay else None)
        if task.replay is not None:
            _check_replay_rows(task_csv(prefix, "replay", i), task.replay, task.train)
        tasks.append(task)
    return tuple(tasks)


def catalog(tables: Iterable[ImageTable]) -> Catalog:
    """The sorted union of the tables' paths."""
    paths = tuple(sorted(set().union(*(table.path.tolist() for table in tables))))
    return Catalog(paths, {path: index for index, path in enumerate(paths)})


def rows_of(known: Catalog, table: ImageTable, task: int, is_replay: bool) -> Rows:
    """The rows of one table, marked with the task they come from; every path must be in the catalog."""
    index = np.array([known.place[path] for path in table.path.tolist()], dtype=np.int32)
    num = len(index)
    return Rows(index, table.label, np.full(num, task, np.int32), np.full(num, is_replay, np.bool_))


def task_rows(known: Catalog, tasks: Sequence[Task]) -> tuple[TaskRows, ...]:
    """The rows of every table of a sequence, the same for all seeds."""

    def one(number: int, task: Task) -> TaskRows:
        replay = None if task.replay is None else rows_of(known, task.replay, number, True)
        return TaskRows(rows_of(known, task.train, number, False), rows_of(known, task.test, number, False), replay)

    return tuple(one(number, task) for number, task in enumerate(tasks))


def rows_for_seed(known: Catalog, tasks: Sequence[TaskRows], validation: float, seed: int) -> tuple[SeedRows, ...]:
    """The rows of every task for one seed. Task t trains on its own rows, then on replay_0 .. replay_{t-1}.

    About the share `validation` of the training images is held out (`held_out`), from train and replay rows alike."""
    held = held_out(known.paths, validation, seed)

    def part(rows: Rows, which: np.ndarray) -> Rows:
        return Rows(*(column[which[rows.index]] for column in rows))

    own = [part(task.train, ~held) for task in tasks]
    replays = [None if task.replay is None else part(task.replay, ~held) for task in tasks]
    return tuple(
        SeedRows(
            train=concat_rows([own[t], *(replay for replay in replays[:t] if replay is not None)]),
            own=own[t],
            test=task.test,
            validation=part(task.train, held),
            replay=replays[t],
        )
        for t, task in enumerate(tasks)
    )


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """All rows, part after part; at least one part."""
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def held_out(paths: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """A mask (n,) bool of the validation images, about `fraction` of n paths.

    Whether an image is held out depends on its path and the seed alone, so it is the same in every CSV, replay
    included, and in every process. Refuses a fraction outside [0, 1)."""
    if not 0 <= fraction < 1:
        raise Refusal(f"validation fraction {fraction} is out of range; choose from [0, 1)")
    if not fraction:
        return np.zeros(len(paths), np.bool_)
    return np.array([_place(path, seed) < fraction for path in paths], dtype=np.bool_)


def class_counts_of(rows: Rows, num_classes: int) -> np.ndarray:
    """Number of rows of each class, (num_classes,) float32."""
    return np.bincount(rows.label, minlength=num_classes).astype(np.float32)


def _numbered(
    csv_path: Path, num_classes: int | None, root: Path | None, allow_empty: bool
) -> tuple[ImageTable, list[int]]:
    """The table of `read_image_table`, and the row of the file that each of its rows ends in."""
    cells = read_cells(csv_path)
    if not cells and not allow_empty:
        raise Refusal(f"{csv_path}: no rows under the header {','.join(COLUMNS)}")
    table = table_of(image_paths(csv_path, cells, root), labels_of(csv_path, cells, num_classes))
    return table, [cell.row for cell in cells]


def told_single_classes(kind: str, tables: Sequence[ImageTable]) -> str:
    """A line that names the tasks whose table has a single class; empty where there are none."""
    tasks = [str(task) for task, table in enumerate(tables) if len(np.unique(table.label)) == 1]
    if not tasks:
        return ""
    of = (
        f"task {tasks[0]} has"
        if len(tasks) == 1
        else f"tasks {', '.join(tasks[:10])}{', ...' * (len(tasks) > 10)} have"
    )
    return f"{of} a single class in {kind}"


def _single_task_csv(train: Path, kind: str, task: int | None) -> Path:
    name, ending = TRAIN_CSV.fullmatch(train.name).groups()  # type: ignore[union-attr]
    if task or kind == "replay":
        raise Refusal(f"{train} is the train CSV of one task: num_tasks must be 1, without replay (data.replay=False)")
    own = train.with_name(f"{name}_{kind}{ending}.csv")
    return own if own.exists() or kind == "train" else train.with_name(f"{name}_{kind}.csv")


def _place(path: str, seed: int) -> float:
    """A hash in [0, 1], the same in every process, unlike Python's salted hash()."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest(), "big") / 2**64


def _numbers_there(prefix: Path, kind: str) -> list[int]:
    """The tasks that have a CSV file of this kind, sorted."""
    pattern = re.compile(re.escape(Path(prefix).name) + rf"_{kind}([0-9]+)\.csv")
    folder = task_csv(prefix, kind, 0).parent
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(match[1]) for match in map(pattern.fullmatch, names) if match)


def _check_replay_files(prefix: Path, num_tasks: int) -> None:
    found = _numbers_there(prefix, "replay")
    if found != list(range(num_tasks)):
        there = ", ".join(map(str, found)) or "none"
        raise Refusal(f"{prefix}_replay{{i}}.csv: {num_tasks} tasks need i = 0 to {num_tasks - 1}; found: {there}")


def _check_replay_rows(path: Path, replay: ImageTable, train: ImageTable) -> None:
    known = set(zip(train.path.tolist(), train.label.tolist(), strict=True))
    for image, label in zip(replay.path.tolist(), replay.label.tolist(), strict=True):
        if (image, label) not in known:
            raise Refusal(f"{path}: {image!r} with label {label} is not in the train CSV of its task")
