"""Faults in the images of a sequence of tasks: leaks, contradictions, duplicates, copies of tasks."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import read_bytes, stored_image
from lifeq_jax.data.tables import BrokenImage, ImageTable, Task, naming_rows, task_csv

SHOWN = 3  # examples of each fault


class AuditedRow(NamedTuple):
    """A row of a CSV file, with a fingerprint of its image."""

    content: str  # equal for equal images
    path: str
    label: int
    csv: str  # name of the file
    kind: str  # train or test


def audit(prefix: Path, tasks: Sequence[Task], root: Path | None) -> tuple[str, ...]:
    """A line for each kind of fault that the tasks of `prefix` have.

    Leak: a test image that is a training image of any task too. Contradiction: an image with several labels.
    Duplicate: an image that is in one CSV twice, or in the training or test images under several names. Copy: two
    tasks that train on the same rows. Images are equal where their decoded pixels are; without `root`, where their
    paths are. Refuses, naming the row, an image that training cannot read."""
    csvs = [task_csv(prefix, kind, task) for task in range(len(tasks)) for kind in ("train", "test")]
    tables = [table for task in tasks for table in (task.train, task.test)]
    with naming_rows(csvs):
        contents = _contents(tables, root)
    rows = [
        AuditedRow(contents.get(path, path), path, label, csv.name, ("train", "test")[number % 2])
        for number, (csv, table) in enumerate(zip(csvs, tables, strict=True))
        for path, label in zip(table.path.tolist(), table.label.tolist(), strict=True)
    ]
    by_content: dict[str, list[AuditedRow]] = defaultdict(list)
    for row in rows:
        by_content[row.content].append(row)
    every = list(by_content.values())
    found = {
        "leaks, test images that are training images": list(filter(None, map(_leak, every))),
        "contradictions, images with several labels": list(filter(None, map(_contradiction, every))),
        "duplicates": list(filter(None, map(_duplicate, every))),
        "copies of tasks": _copies(prefix, tasks),
    }
    return tuple(_line(name, examples) for name, examples in found.items() if examples)


def _contents(tables: Iterable[ImageTable], root: Path | None) -> Mapping[str, str]:
    """A hash of the pixels of every image; empty without a root."""
    if root is None:
        return {}
    paths = sorted(set().union(*(table.path.tolist() for table in tables)))

    def content(path: str) -> str:
        try:
            image, _ = stored_image(read_bytes(root / path), inks=True)
        except Refusal as refusal:
            raise BrokenImage(f"{root / path} {refusal}", path, root) from None
        pixels = image.convert("RGB")
        return hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).hexdigest()

    with ThreadPoolExecutor() as pool:
        read = tqdm(pool.map(content, paths), "reading images", len(paths), disable=None, leave=False)
        return dict(zip(paths, read, strict=True))


def _leak(rows: Sequence[AuditedRow]) -> str:
    train, test = (next((row for row in rows if row.kind == kind), None) for kind in ("train", "test"))
    return f"{test.path} ({test.csv}) is {train.path} ({train.csv})" if train and test else ""


def _contradiction(rows: Sequence[AuditedRow]) -> str:
    first = rows[0]
    other = next((row for row in rows if row.label != first.label), None)
    return (
        f"{first.path} has label {first.label} in {first.csv}, {other.path} {other.label} in {other.csv}"
        if other
        else ""
    )


def _duplicate(rows: Sequence[AuditedRow]) -> str:
    in_csv: dict[str, AuditedRow] = {}
    of_kind: dict[str, AuditedRow] = {}
    for row in rows:
        other = in_csv.get(row.csv, of_kind.setdefault(row.kind, row))
        if row.csv in in_csv or row.path != other.path:
            return f"{other.path} ({other.csv}) and {row.path} ({row.csv})"
        in_csv[row.csv] = row
    return ""


def _copies(prefix: Path, tasks: Sequence[Task]) -> list[str]:
    first: dict[tuple, int] = {}
    found = []
    for number, task in enumerate(tasks):
        rows = tuple(sorted(zip(task.train.path.tolist(), task.train.label.tolist(), strict=True)))
        if first.setdefault(rows, number) != number:
            names = (task_csv(prefix, "train", task).name for task in (first[rows], number))
            found.append(" and ".join(names))
    return found


def _line(name: str, examples: Sequence[str]) -> str:
    more = f"; {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return f"{name}: {len(examples)} ({'; '.join(examples[:SHOWN])}{more})"
