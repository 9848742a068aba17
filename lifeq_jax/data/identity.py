"""A digest of a run's data in a few lines of text, to detect data that has changed."""

import base64
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import ImageTable, Task, catalog, task_csv

SIZES = "images"


def digest_of(prefix: Path, tasks: Sequence[Task], root: Path) -> dict[str, str]:
    """The name of every CSV file of a sequence, with a hash of its rows (paths, labels, order), and SIZES, with the
    sizes of all image files in bytes, packed.

    Independent of the location of `prefix` and `root`, and of anything in a CSV file but its rows. Refuses a missing
    image file."""
    tables = {task_csv(prefix, kind, number).name: table for number, kind, table in _each(tasks)}
    sizes = []
    for path in catalog(tables.values()).paths:
        try:
            sizes.append(os.stat(os.path.join(root, path)).st_size)
        except OSError as error:
            raise Refusal(f"{os.path.join(root, path)} cannot be read: {error.strerror}") from None
    packed = zlib.compress(np.array(sizes, "<i8").tobytes())
    return {name: _hash(table) for name, table in tables.items()} | {SIZES: base64.b64encode(packed).decode()}


def changed_file(before: Mapping[str, str], now: Mapping[str, str], paths: Sequence[str]) -> str | None:
    """The first file in which two digests differ, a CSV file's name or an image's path; None where they are equal.

    `paths`: the images of `now`, as in its catalog. A CSV file that only one of them has differs."""
    for name in sorted({*before, *now} - {SIZES}):
        if before.get(name) != now.get(name):
            return name
    if before.get(SIZES) == now.get(SIZES):
        return None
    old, new = (_unpacked(digest.get(SIZES, "")) for digest in (before, now))
    if old.shape != new.shape:
        return SIZES
    differ = np.flatnonzero(old != new)  # empty if another zlib version has packed the same sizes
    return paths[int(differ[0])] if differ.size else None


def _each(tasks: Sequence[Task]) -> list[tuple[int, str, ImageTable]]:
    kinds = ("train", "test", "replay")
    return [
        (number, kind, table)
        for number, task in enumerate(tasks)
        for kind, table in zip(kinds, task, strict=True)
        if table is not None
    ]


def _hash(table: ImageTable) -> str:
    rows = zip(table.path.tolist(), table.label.tolist(), strict=True)
    text = "".join(f"{len(path)}:{path},{label}\n" for path, label in rows)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _unpacked(text: str) -> np.ndarray:
    """The sizes; none where the text is damaged."""
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8")
    except (ValueError, zlib.error):
        return np.zeros(0, "<i8")
