"""Writes the CSV files of a sequence of tasks from class folders, or from domains of class folders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.sampling import as_fraction, shuffled, stratified
from lifeq_jax.data.tables import ImageTable, concat_tables, select_rows, task_csv, told_single_classes, write_table
from lifeq_jax.data.walk import Folder, Listing, list_images, told_left_out

SPLITS = ("train", "test")


class TaskSet(NamedTuple):
    """Summary of what a generator of tasks has written."""

    prefix: Path
    classes: tuple[str, ...]  # names; the label is the index
    images: dict[str, tuple[int, ...]]  # split -> images of each task
    notes: tuple[str, ...] = ()  # warnings for the user, a line each


def class_windows(num_classes: int, num_tasks: int, diminish_rate: float, seed: int) -> list[list[int]]:
    """The class ids of each task: a window that slides over a seeded order of all classes.

    A window holds int(n / (1 + rate (T - 1))) classes and moves by int(window * rate); the last task takes all
    remaining classes. `diminish_rate` is the share of the window that is replaced: 0.25 and 25 both mean 25 %, 1 makes
    disjoint tasks. Source: LifeQuant lifeLongDataGeneator.py, including its truncations of doubles (but not its 25,
    which gives windows of one class). Refuses more tasks than the classes can fill, and windows that do not move, whose
    tasks would be copies of one another; names the largest number that works."""
    rate = as_fraction(diminish_rate, "diminish_rate")
    if num_tasks < 1:
        raise Refusal(f"num_tasks={num_tasks} is out of range; choose 1 or more")
    window, move = _window(num_classes, num_tasks, rate)
    if not move:
        wrong = f"tasks that are copies of one another, {window} classes in each" if window else "empty tasks"
        most = next(number for number in range(num_tasks - 1, 0, -1) if _window(num_classes, number, rate)[1])
        raise Refusal(
            f"num_tasks={num_tasks} gives {wrong}, with {num_classes} classes and diminish_rate={diminish_rate:g}; "
            f"choose at most {most} tasks or a larger rate"
        )
    order = shuffled(num_classes, seed)
    heads = [task * move for task in range(num_tasks)]
    ends = [head + window for head in heads[:-1]] + [num_classes]
    return [order[head:end].tolist() for head, end in zip(heads, ends, strict=True)]


def _window(num_classes: int, num_tasks: int, rate: float) -> tuple[int, int]:
    """(classes of a task, classes by which the window moves); 0 where impossible. A single task does not move."""
    window = int(num_classes / (1 + rate * (num_tasks - 1)))
    return window, int(window * rate) if num_tasks > 1 else window


def make_lifelong(
    root: Path,
    prefix: Path,
    *,
    num_tasks: int,
    diminish_rate: float,
    seed: int = 123,
    splits: Sequence[str] = SPLITS,
) -> TaskSet:
    """Writes `<prefix>_<split>{i}.csv` for every task and `<prefix>_<split>.csv`, all tasks one after the
    other.

    Both splits have the same classes per task. Rows go class by class in window order, files sorted; an image of a
    class that stays for several tasks is in each of their CSVs. Labels are the same in all tasks. A single task has all
    classes, whatever the rate. If there is no folder `test`, `val` is used: ImageNet has no labels for its test images.
    Refuses splits with different classes, and task CSVs of this prefix that this sequence would not overwrite."""
    listed = list_splits(root, splits)
    classes = listed[splits[0]].classes
    windows = class_windows(len(classes), num_tasks, diminish_rate, seed)
    tables = {split: [of_classes(found.table, w) for w in windows] for split, found in listed.items()}
    images = write_sequence(prefix, tables)
    return TaskSet(Path(prefix), tuple(classes), images, notes_on(tables, listed.values()))


def make_domains(
    root: Path, prefix: Path, *, domains: Sequence[str], test_fraction: float = 0.2, seed: int = 123
) -> TaskSet:
    """Writes one task per domain, in the given order (Office-31: amazon, dslr, webcam; ImageCLEF: i, p, c,
    b).

    Layout `<root>/<split>/<domain>/<class>/<file>`, or `<root>/<domain>/<class>/<file>`, which is split by
    class and seed into train and `test_fraction` test. A label is the index in the sorted union of the
    domains' class names. Refuses a domain that is not there (naming those that are) and a domain named
    twice."""
    if not domains or len(set(domains)) != len(domains):
        raise Refusal(f"domains {', '.join(domains) or '(none)'}: name each domain once, at least one")
    seen: set[Folder] = set()
    if all((Path(root) / split).is_dir() for split in SPLITS):
        listed = {split: [_domain(root, split, name, seen) for name in domains] for split in SPLITS}
    else:
        listed = _split_domains([_domain(root, "", name, seen) for name in domains], test_fraction, seed)
    classes = sorted({name for parts in listed.values() for found in parts for name in found.classes})
    index = {name: label for label, name in enumerate(classes)}
    tables = {split: [_relabel(found, index) for found in parts] for split, parts in listed.items()}
    images = write_sequence(prefix, tables)
    notes = notes_on(tables, (found for parts in listed.values() for found in parts))
    return TaskSet(Path(prefix), tuple(classes), images, notes)


def list_splits(root: Path, splits: Sequence[str]) -> dict[str, Listing]:
    """Classes and images of each split, as by `list_images`; `val` is used if there is no `test`.

    Refuses splits with different classes, and a class of one that is a link to a class of another."""
    seen: set[Folder] = set()
    listed = {split: list_images(root, _split_folder(root, split), seen) for split in splits}
    for split in splits[1:]:
        _check_same_classes(root, listed[splits[0]].classes, listed[split].classes, splits[0], split)
    return listed


def notes_on(tables: Mapping[str, Sequence[ImageTable]], listed: Iterable[Listing] = ()) -> tuple[str, ...]:
    """A line for each split with tasks of a single class, and one for the files that the listings left out."""
    lines = [told_single_classes(split, parts) for split, parts in tables.items()]
    others = sum((found.left_out for found in listed), Counter[str]())
    return tuple(line for line in (*lines, told_left_out(others)) if line)


def of_classes(table: ImageTable, classes: list[int]) -> ImageTable:
    """The rows of the given classes, class by class in the given order; at least one class."""
    return select_rows(table, np.concatenate([np.flatnonzero(table.label == label) for label in classes]))


def write_sequence(prefix: Path, tables: Mapping[str, Sequence[ImageTable]]) -> dict[str, tuple[int, ...]]:
    """Writes `<prefix>_<split>{i}.csv` for every table and `<prefix>_<split>.csv`, all of them one after the
    other.

    Returns the images of each task by split. Refuses a prefix that is a CSV file, and task CSVs under it that
    this sequence would not overwrite, before it writes anything."""
    refuse_csv_prefix(prefix)
    for split, parts in tables.items():
        _check_leftovers(prefix, split, len(parts))
    for split, parts in tables.items():
        for task, table in enumerate(parts):
            write_table(task_csv(prefix, split, task), table)
        write_table(task_csv(prefix, split), concat_tables(parts))
    return {split: tuple(len(table.path) for table in parts) for split, parts in tables.items()}


def refuse_csv_prefix(prefix: Path) -> None:
    """Refuses a prefix of new files that is the name of a CSV file."""
    if Path(prefix).suffix == ".csv":
        raise Refusal(f"{prefix} is the name of a CSV file; give what the names of the new files begin with")


def _split_folder(root: Path, split: str) -> str:
    stand_in = split == "test" and not (Path(root) / "test").is_dir() and (Path(root) / "val").is_dir()
    return "val" if stand_in else split


def _domain(root: Path, split: str, domain: str, seen: set[Folder]) -> Listing:
    found = list_images(Path(root) / split, domain, seen)
    paths = [f"{split}/{path}" if split else path for path in found.table.path.tolist()]
    return found._replace(table=found.table._replace(path=np.array(paths, dtype=np.str_)))


def _split_domains(domains: list[Listing], test_fraction: float, seed: int) -> dict[str, list[Listing]]:
    masks = [stratified(found.table.label, test_fraction, seed) for found in domains]

    def part(found: Listing, mask: np.ndarray) -> Listing:
        return found._replace(table=select_rows(found.table, mask))

    train = [part(found, ~mask) for found, mask in zip(domains, masks, strict=True)]
    test = [part(found, mask)._replace(left_out=Counter()) for found, mask in zip(domains, masks, strict=True)]
    return {"train": train, "test": test}


def _relabel(found: Listing, index: Mapping[str, int]) -> ImageTable:
    new = np.array([index[name] for name in found.classes], np.int32)
    return found.table._replace(label=new[found.table.label])


def _check_same_classes(root: Path, first: list[str], other: list[str], name: str, other_name: str) -> None:
    odd = sorted(set(first) ^ set(other))
    if odd:
        raise Refusal(f"{root}: splits {name} and {other_name} differ in class {odd[0]!r} ({len(odd)} in all)")


def _check_leftovers(prefix: Path, split: str, num_tasks: int) -> None:
    """Refuses leftover CSVs of a longer sequence, which would be read as tasks of this one."""
    for path in sorted(Path(prefix).parent.glob("*.csv")):
        match = re.fullmatch(re.escape(Path(prefix).name) + rf"_{split}([0-9]+)\.csv", path.name)
        if match and int(match[1]) >= num_tasks:
            raise Refusal(f"{path} is of a sequence longer than {num_tasks} tasks; move it or use another prefix")
