"""Class folders, or domains of class folders, to the CSV files of a sequence of tasks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.sampling import as_fraction, shuffled, stratified
from lifeq_jax.data.tables import (
    Table,
    concat_tables,
    list_images,
    select,
    task_csv,
    write_table,
)

SPLITS = ("train", "test")


class TaskSet(NamedTuple):
    """What a generator of tasks has written."""

    prefix: Path
    classes: tuple[str, ...]  # names; the label is the index
    images: dict[str, tuple[int, ...]]  # split -> images of each task


def class_windows(num_classes: int, num_tasks: int, diminish_rate: float, seed: int) -> list[list[int]]:
    """The class ids of each task: a window that slides over a seeded order of all classes.

    A window holds int(n / (1 + rate (T - 1))) classes and moves by int(window * rate); the last task takes
    all classes that are left. `diminish_rate` is the share of the window that is replaced: 0.25 and 25 both
    mean 25 %, 1 makes disjoint tasks. Source: LifeQuant lifeLongDataGeneator.py, whose truncations of doubles
    are kept (its 25, which gives windows of one class, is not). Refuses more tasks than the classes can
    fill."""
    rate = as_fraction(diminish_rate, "diminish_rate")
    if num_tasks < 1:
        raise Refusal(f"num_tasks={num_tasks} is out of range; choose 1 or more")
    window = int(num_classes / (1 + rate * (num_tasks - 1)))
    if window < 1:
        raise Refusal(f"num_tasks={num_tasks} leaves empty tasks with {num_classes} classes; choose fewer")
    order = shuffled(num_classes, seed)
    heads = [task * int(window * rate) for task in range(num_tasks)]
    ends = [head + window for head in heads[:-1]] + [num_classes]
    return [order[head:end].tolist() for head, end in zip(heads, ends, strict=True)]


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

    Both splits get the same classes per task. Rows go class by class in window order, files sorted; an image
    of a class that stays for several tasks is in each of their CSVs. Labels are the same in all tasks. One
    task has all classes, whatever the rate. Where there is no folder `test`, `val` stands for it: ImageNet has
    no labels for its test images. Refuses splits with different classes, and task CSVs under this prefix that
    this sequence would not overwrite."""
    listed = list_splits(root, splits)
    classes = listed[splits[0]][0]
    windows = class_windows(len(classes), num_tasks, diminish_rate, seed)
    tables = {split: [of_classes(table, w) for w in windows] for split, (_, table) in listed.items()}
    return TaskSet(Path(prefix), tuple(classes), write_sequence(prefix, tables))


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
    if all((Path(root) / split).is_dir() for split in SPLITS):
        listed = {split: [_domain(root, split, name) for name in domains] for split in SPLITS}
    else:
        listed = _split_domains([_domain(root, "", name) for name in domains], test_fraction, seed)
    classes = sorted({name for parts in listed.values() for names, _ in parts for name in names})
    index = {name: label for label, name in enumerate(classes)}
    tables = {split: [_relabel(table, names, index) for names, table in parts] for split, parts in listed.items()}
    return TaskSet(Path(prefix), tuple(classes), write_sequence(prefix, tables))


def list_splits(root: Path, splits: Sequence[str]) -> dict[str, tuple[list[str], Table]]:
    """Classes and images of each split, as `list_images`; `val` stands for a `test` that is not there.

    Refuses splits with different classes."""
    listed = {split: list_images(root, _split_folder(root, split)) for split in splits}
    for split in splits[1:]:
        _check_same_classes(root, listed[splits[0]][0], listed[split][0], splits[0], split)
    return listed


def of_classes(table: Table, classes: list[int]) -> Table:
    """The rows of the given classes, class by class in the given order; at least one class."""
    return select(table, np.concatenate([np.flatnonzero(table.label == label) for label in classes]))


def write_sequence(prefix: Path, tables: Mapping[str, Sequence[Table]]) -> dict[str, tuple[int, ...]]:
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
    """Refuses the name of a CSV file where new files' names are to begin with it."""
    if Path(prefix).suffix == ".csv":
        raise Refusal(f"{prefix} is the name of a CSV file; give what the names of the new files begin with")


def _split_folder(root: Path, split: str) -> str:
    stand_in = split == "test" and not (Path(root) / "test").is_dir() and (Path(root) / "val").is_dir()
    return "val" if stand_in else split


def _domain(root: Path, split: str, domain: str) -> tuple[list[str], Table]:
    names, table = list_images(Path(root) / split, domain)
    paths = [f"{split}/{path}" if split else path for path in table.path.tolist()]
    return names, table._replace(path=np.array(paths, dtype=np.str_))


def _split_domains(
    domains: list[tuple[list[str], Table]], test_fraction: float, seed: int
) -> dict[str, list[tuple[list[str], Table]]]:
    masks = [stratified(table.label, test_fraction, seed) for _, table in domains]
    train = [(names, select(table, ~mask)) for (names, table), mask in zip(domains, masks, strict=True)]
    test = [(names, select(table, mask)) for (names, table), mask in zip(domains, masks, strict=True)]
    return {"train": train, "test": test}


def _relabel(table: Table, names: list[str], index: Mapping[str, int]) -> Table:
    new = np.array([index[name] for name in names], np.int32)
    return table._replace(label=new[table.label])


def _check_same_classes(root: Path, first: list[str], other: list[str], name: str, other_name: str) -> None:
    odd = sorted(set(first) ^ set(other))
    if odd:
        raise Refusal(f"{root}: splits {name} and {other_name} differ in class {odd[0]!r} ({len(odd)} in all)")


def _check_leftovers(prefix: Path, split: str, num_tasks: int) -> None:
    """A CSV of a longer sequence beside a shorter one would be taken for one of its tasks."""
    for path in sorted(Path(prefix).parent.glob("*.csv")):
        match = re.fullmatch(re.escape(Path(prefix).name) + rf"_{split}([0-9]+)\.csv", path.name)
        if match and int(match[1]) >= num_tasks:
            raise Refusal(f"{path} is of a sequence longer than {num_tasks} tasks; move it or use another prefix")
