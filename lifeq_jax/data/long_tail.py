"""Writes long-tailed CSV files, in which few classes have most of the images, from class folders or CSV files."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import list_splits, notes_on, refuse_csv_prefix, write_sequence
from lifeq_jax.data.tables import ImageTable, is_train_csv, read_image_table, select_rows, task_csv, write_table

SEEDS_APART = 2**16  # between the seeds of two draws; above the labels of all known data sets


class LongTail(NamedTuple):
    """Summary of what has been written, one entry a task."""

    trains: tuple[Path, ...]
    tests: tuple[Path, ...]
    sizes: tuple[np.ndarray, ...]  # images of each class in train, (K,) int64, falling; 0 where truncated away
    test_images: tuple[int, ...]
    notes: tuple[str, ...] = ()  # warnings for the user, a line each


def exponential(sizes: np.ndarray, gamma: float) -> np.ndarray:
    """n_0 gamma^(-i/(K-1)) truncated, at least 1, at most sizes_i, for the K classes of falling `sizes` (K,);
    int64 (K,).

    Source: the long tail of Cui et al. (class-balanced loss, CVPR 2019), with n_0 the largest class."""
    place = np.arange(len(sizes)) / (len(sizes) - 1)
    # a power of doubles may end just below a whole number: 500 / 50 must be 10
    wanted = np.floor(sizes[0] * float(gamma) ** -place + 1e-9)
    return np.clip(wanted, 1, sizes).astype(np.int64)


def truncated(sizes: np.ndarray, gamma: float) -> np.ndarray:
    """n_i = min(int(n_{i-1} gamma^(-1/(K-1))), sizes_i), n_0 = sizes_0; int64 (K,).

    Truncation errors add up: the imbalance exceeds gamma, and the last classes may get no image at all (28 of 100 with
    500 images each at gamma 200). Source: ClimbQ longTailDataGeneator.py."""
    ratio = 1 / gamma ** (1 / (len(sizes) - 1))
    counts = [int(sizes[0])]
    for size in sizes[1:]:
        counts.append(min(int(counts[-1] * ratio), int(size)))
    return np.array(counts, np.int64)


SCHEMES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"exponential": exponential, "truncated": truncated}


def thin(
    table: ImageTable, gamma: float, scheme: str = "exponential", seed: int = 0, where: str = "data"
) -> ImageTable:
    """The rows of `table` that its long tail keeps, largest class first, each class in drawn order.

    Classes are ordered by size, then by label. The rows of label c are drawn without repetition by NumPy's legacy
    generator, seeded with c + 65536 seed. Hence seed 0 draws what ClimbQ draws, a larger gamma keeps a subset of what a
    smaller one keeps, and a class of several tasks keeps the same images in each. Refuses an unknown scheme, a gamma
    below 1 and, naming `where`, fewer than 2 classes, no class of 2 images, and an image named twice."""
    counts_of = lookup(SCHEMES, scheme, "scheme")
    _check_gamma(gamma)
    labels, sizes = np.unique(table.label, return_counts=True)
    _check_enough(table, sizes, where)
    order = np.argsort(-sizes, kind="stable")
    kept = []
    for label, number in zip(labels[order], counts_of(sizes[order], gamma), strict=True):
        rows = np.flatnonzero(table.label == label)
        random = np.random.RandomState((int(label) + SEEDS_APART * seed) % 2**32)
        kept.append(rows[random.choice(len(rows), number, replace=False)])
    return select_rows(table, np.concatenate(kept))


def long_tail_of_folders(
    root: Path, prefix: Path, *, gamma: float, scheme: str = "exponential", seed: int = 0
) -> LongTail:
    """Writes `<prefix>_train{gamma}.csv` from the class folders of `<root>/train`, and `<prefix>_test.csv` with
    all of `<root>/test`, or of `val` where there is no `test`.

    A label is the rank of the class by its number of training images, ties by name, as in ClimbQ's own files.
    Refuses what `thin` and `list_images` refuse, splits with different classes, a prefix of task files, and a
    `<prefix>_test.csv` with other rows."""
    listed = list_splits(root, ("train", "test"))
    sizes = np.bincount(listed["train"].table.label)
    rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable").astype(np.int32)
    train, test = (found.table._replace(label=rank[found.table.label]) for found in listed.values())
    kept = thin(train, gamma, scheme, seed, f"{root}/train")
    written = _write_one(prefix, gamma, kept, test, sizes=_sizes(kept, train))
    return written._replace(notes=(*written.notes, *notes_on({}, listed.values())))


def long_tail_of_csv(
    source: Path, prefix: Path, *, gamma: float, scheme: str = "exponential", seed: int = 0
) -> LongTail:
    """Writes the same files from a train CSV `<name>_train<ending>.csv` and its test CSV; labels do not change.

    Refuses what `thin` and `read_image_table` refuse, a source that is no train CSV or would be written over, a prefix
    of task files, and a `<prefix>_test.csv` with other rows."""
    if not is_train_csv(source):
        raise Refusal(f"{source} is not named <name>_train<ending>.csv; for a sequence give its prefix and --tasks")
    train, test = (read_image_table(task_csv(source, kind, 0)) for kind in ("train", "test"))
    kept = thin(train, gamma, scheme, seed, str(source))
    _refuse_own_source([_train_csv(prefix, gamma)], [source])
    return _write_one(prefix, gamma, kept, test, sizes=_sizes(kept, train))


def long_tail_of_tasks(
    source: Path, prefix: Path, *, num_tasks: int, gamma: float, scheme: str = "exponential", seed: int = 0
) -> LongTail:
    """Writes `<prefix>_train{i}.csv`, a long tail of `<source>_train{i}.csv`, and `<prefix>_test{i}.csv`, equal to
    the source's, for every task; and `<prefix>_train.csv`, `<prefix>_test.csv`, all tasks one after the other.

    Labels do not change. Refuses what `thin`, `read_image_table` and `write_sequence` refuse, and the source's
    prefix."""
    if num_tasks < 1:
        raise Refusal(f"num_tasks={num_tasks} is out of range; choose 1 or more")
    tasks = range(num_tasks)
    paths = [task_csv(source, "train", task) for task in tasks]
    trains = [read_image_table(path) for path in paths]
    tests = [read_image_table(task_csv(source, "test", task)) for task in tasks]
    kept = [thin(train, gamma, scheme, seed, str(path)) for path, train in zip(paths, trains, strict=True)]
    refuse_csv_prefix(prefix)
    written: Mapping[str, tuple[Path, ...]] = {
        kind: tuple(task_csv(prefix, kind, task) for task in tasks) for kind in ("train", "test")
    }
    _refuse_own_source(written["train"], paths)
    images = write_sequence(prefix, {"train": kept, "test": tests})
    sizes = tuple(_sizes(few, all_) for few, all_ in zip(kept, trains, strict=True))
    return LongTail(written["train"], written["test"], sizes, images["test"], notes_on({"train": kept, "test": tests}))


def _write_one(prefix: Path, gamma: float, train: ImageTable, test: ImageTable, sizes: np.ndarray) -> LongTail:
    refuse_csv_prefix(prefix)
    if task_csv(prefix, "train", 0).exists():
        raise Refusal(f"{task_csv(prefix, 'train', 0)}: {prefix} is a sequence of tasks; use another prefix")
    train_path, test_path = _train_csv(prefix, gamma), task_csv(prefix, "test")
    _check_same_test(test_path, test)
    write_table(train_path, train)
    write_table(test_path, test)
    notes = notes_on({"train": [train], "test": [test]})
    return LongTail((train_path,), (test_path,), (sizes,), (len(test.path),), notes)


def _train_csv(prefix: Path, gamma: float) -> Path:
    return Path(f"{prefix}_train{int(gamma) if gamma == int(gamma) else gamma}.csv")


def _sizes(kept: ImageTable, table: ImageTable) -> np.ndarray:
    """Rows of `kept` in each class of `table`, in descending order."""
    number = dict(zip(*np.unique(kept.label, return_counts=True), strict=True))
    return np.sort(np.array([number.get(label, 0) for label in np.unique(table.label)], np.int64))[::-1]


def _check_gamma(gamma: float) -> None:
    if not 1 <= gamma < math.inf:
        raise Refusal(f"gamma={gamma} is out of range; choose 1 or more: the largest class over the smallest")


def _check_enough(table: ImageTable, sizes: np.ndarray, where: str) -> None:
    if len(sizes) < 2:
        raise Refusal(f"{where}: {len(sizes)} class; a long tail needs 2 or more")
    if sizes.max() < 2:
        raise Refusal(f"{where}: no class has more than 1 image; a long tail needs 2 in the largest")
    names, times = np.unique(table.path, return_counts=True)
    if times.max() > 1:
        raise Refusal(f"{where}: {str(names[times.argmax()])!r} is in {times.max()} rows; name every image once")


def _check_same_test(path: Path, test: ImageTable) -> None:
    """Refuses another test CSV at `path`: one test CSV serves every gamma of a prefix, so its labels must not
    change."""
    if not path.exists():
        return
    there = read_image_table(path, allow_empty=True)
    if not all(np.array_equal(old, new) for old, new in zip(there, test, strict=True)):
        raise Refusal(f"{path} has other rows than this set's test images; move it or use another prefix")


def _refuse_own_source(written: Sequence[Path], read: Sequence[Path]) -> None:
    sources = {Path(path).resolve() for path in read}
    for path in written:
        if path.resolve() in sources:
            raise Refusal(f"{path} would be written over while it is the source; use another prefix")
