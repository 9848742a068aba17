"""The task sequences of BLIP's experiments: CSV files from the class folders of one or several data sets."""

import posixpath
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import SPLITS, TaskSet, list_splits, notes_on, of_classes, write_sequence
from lifeq_jax.data.sampling import shuffled, stratified
from lifeq_jax.data.tables import ImageTable, concat_tables, select_rows
from lifeq_jax.data.walk import SPLIT_NAMES, Listing, list_images, subfolders

DIGITS = tuple("0123456789")
SPLIT_SEED = 1234  # the original's, independent of the run's seed, so that all runs share their test images
NAMES_SHOWN = 10


class Tree(NamedTuple):
    """One data set of a sequence, `<folder>/<split>/<class>/<file>`."""

    folder: str  # under the root; "" is the root itself
    num_classes: int
    names: tuple[str, ...] = ()  # of the classes, where their order must be that of the original's numbers
    test_fraction: float | None = None  # of each class; not None: `<folder>/<class>/<file>` is accepted too


class TaskSequence(NamedTuple):
    """The recipe of a sequence. Labels are numbered through all trees, with classes sorted by name in each."""

    trees: tuple[Tree, ...]
    num_tasks: int
    labels: Callable[[int, int, int], list[list[int]]]  # (classes, tasks, seed) -> the labels of each task
    free: bool = False  # whether another number of tasks may be asked for


def in_order(num_classes: int, num_tasks: int, seed: int) -> list[list[int]]:
    """Equal groups of classes in the order of their labels; ignores the seed."""
    return [group.tolist() for group in np.split(np.arange(num_classes), num_tasks)]


def groups_shuffled(num_classes: int, num_tasks: int, seed: int) -> list[list[int]]:
    """Equal groups of classes, in order inside, the groups shuffled. Source: BLIP mixture5.py."""
    groups = in_order(num_classes, num_tasks, seed)
    return [groups[group] for group in shuffled(num_tasks, seed)]


def classes_shuffled(num_classes: int, num_tasks: int, seed: int) -> list[list[int]]:
    """Equal groups of shuffled classes. Source: BLIP miniimagenet.py."""
    return [group.tolist() for group in np.split(shuffled(num_classes, seed), num_tasks)]


def alternating(num_classes: int, num_tasks: int, seed: int) -> list[list[int]]:
    """The first ten classes in pairs and the others in as many equal groups, all groups shuffled. Source: BLIP
    cifar.py."""
    each = num_tasks // 2
    groups = [*np.split(np.arange(10), each), *np.split(np.arange(10, num_classes), each)]
    return [groups[group].tolist() for group in shuffled(num_tasks, seed)]


MNIST = (Tree("", 10, DIGITS),)
FIVE = tuple(Tree(folder, 10) for folder in ("cifar10", "notmnist", "mnist", "svhn", "fashion_mnist"))
SEQUENCES = {
    "mnist2": TaskSequence(MNIST, 2, in_order),
    "mnist5": TaskSequence(MNIST, 5, in_order),
    "pmnist": TaskSequence(MNIST, 1, in_order),  # its ten tasks permute the pixels of these rows: permute.py
    "cifar10_pairs": TaskSequence((Tree("", 10),), 5, in_order),
    "cifar_alternating": TaskSequence((Tree("cifar10", 10), Tree("cifar100", 100)), 10, alternating),
    "five_datasets": TaskSequence(FIVE, 5, groups_shuffled),
    "mini_imagenet": TaskSequence((Tree("", 100, test_fraction=1 / 6),), 20, classes_shuffled, free=True),
}


def make_sequence(name: str, root: Path, prefix: Path, *, num_tasks: int | None = None, seed: int = 0) -> TaskSet:
    """Writes `<prefix>_train{i}.csv` and `<prefix>_test{i}.csv` of a row of SEQUENCES, and `<prefix>_<split>.csv`,
    all tasks one after the other.

    Rows go class by class in the order of the task, files sorted; paths begin with the tree's folder. A label is
    the class's number in the whole sequence. `seed` orders tasks or classes as the original does; sequences that
    go in order ignore it. Refuses an unknown name, a number of tasks where the sequence has its own or that does
    not divide the classes, a missing tree, classes of another number or name than the tree's, and what
    `list_splits` and `write_sequence` refuse."""
    sequence = lookup(SEQUENCES, name, "sequence")
    number = sequence.num_tasks if num_tasks is None else _checked(name, sequence, num_tasks)
    labels = sequence.labels(_num_classes(sequence), number, seed)
    _check_folders(name, sequence, Path(root))
    classes: list[str] = []
    parts: dict[str, list[ImageTable]] = {split: [] for split in SPLITS}
    every: list[Listing] = []
    for tree in sequence.trees:
        listed = _list_tree(Path(root) / tree.folder, tree)
        names = listed["train"].classes
        _check_classes(name, Path(root) / tree.folder, tree, names)
        for split, found in listed.items():
            parts[split].append(_moved(found.table, tree.folder, len(classes)))
        classes += [posixpath.join(tree.folder, each) for each in names]
        every += listed.values()
    whole = {split: concat_tables(tables) for split, tables in parts.items()}
    tasks = {split: [of_classes(table, task) for task in labels] for split, table in whole.items()}
    return TaskSet(Path(prefix), tuple(classes), write_sequence(prefix, tasks), notes_on(tasks, every))


def _num_classes(sequence: TaskSequence) -> int:
    return sum(tree.num_classes for tree in sequence.trees)


def _list_tree(folder: Path, tree: Tree) -> dict[str, Listing]:
    if tree.test_fraction is None or {*SPLIT_NAMES} & set(subfolders(folder)):
        return list_splits(folder, SPLITS)
    found = list_images(folder, "")
    test = stratified(found.table.label, tree.test_fraction, SPLIT_SEED)
    held = found._replace(table=select_rows(found.table, test), left_out=Counter())
    return {"train": found._replace(table=select_rows(found.table, ~test)), "test": held}


def _moved(table: ImageTable, folder: str, first: int) -> ImageTable:
    """The table with paths relative to the root of all trees, and classes numbered from `first`."""
    paths = np.array([posixpath.join(folder, path) for path in table.path.tolist()], dtype=np.str_)
    return ImageTable(paths, table.label + np.int32(first))


def _checked(name: str, sequence: TaskSequence, num_tasks: int) -> int:
    if not sequence.free:
        free = ", ".join(other for other, row in SEQUENCES.items() if row.free)
        raise Refusal(f"tasks={num_tasks} does not apply to {name}, which has its own number; choose it for {free}")
    classes = _num_classes(sequence)
    if num_tasks < 1 or classes % num_tasks:
        choices = ", ".join(str(number) for number in range(1, classes + 1) if classes % number == 0)
        raise Refusal(f"tasks={num_tasks} does not divide the {classes} classes of {name}; choose from {choices}")
    return num_tasks


def _check_folders(name: str, sequence: TaskSequence, root: Path) -> None:
    needed = [tree.folder for tree in sequence.trees if tree.folder]
    there = subfolders(root)
    missing = [folder for folder in needed if folder not in there]
    if missing:
        raise Refusal(
            f"{root}: {name} needs the folders {', '.join(needed)}; missing: {', '.join(missing)}; "
            f"there: {', '.join(there) or 'none'}"
        )


def _check_classes(name: str, folder: Path, tree: Tree, there: list[str]) -> None:
    if len(there) == tree.num_classes and tree.names in ((), tuple(there)):
        return
    needed = f"the classes {', '.join(tree.names)}" if tree.names else f"{tree.num_classes} classes"
    shown = ", ".join(there[:NAMES_SHOWN]) + (", ..." if len(there) > NAMES_SHOWN else "")
    raise Refusal(f"{folder}: {name} needs {needed}; there are {len(there)}: {shown}")
