"""Which files under a folder are images: one rule for every command."""

import os
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import CONVERTS
from lifeq_jax.data.tables import ImageTable, table_of

ENDINGS = (".png", ".jpg", ".jpeg")  # of the files that training reads
SPLIT_NAMES = ("train", "test", "val")
RECORD = "prepared.json"
HIDDEN, AGAIN = "hidden", "folders linked twice"
NEEDED = f"expected <split>/<class>/<file> with {', '.join(ENDINGS)}"
NAMES_ONLY = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow cannot decode by itself

Folder = tuple[int, int]  # device and inode of a real folder


class Walked(NamedTuple):
    """The files under a folder, by their relative path, "/" between parts."""

    images: tuple[str, ...]  # folder by folder, files of a folder before its subfolders, names sorted
    empty: tuple[str, ...]  # folders without any image, subfolders included
    again: tuple[str, ...]  # folders that are links to an earlier one
    left_out: Counter[str]  # ending, HIDDEN or AGAIN -> number


class Listing(NamedTuple):
    """The images of one split."""

    classes: list[str]  # names; the label is the index
    table: ImageTable
    left_out: Counter[str]  # as of Walked


@cache
def readable_endings() -> frozenset[str]:
    """The endings of the files that Pillow reads, with dot, in lower case."""
    known = Image.registered_extensions()
    return frozenset(ending for ending, kind in known.items() if kind in {*Image.OPEN, "MPO"} - NAMES_ONLY)


def walk(root: Path, endings: Collection[str] = ENDINGS, seen: set[Folder] | None = None) -> Walked:
    """The files under `root` that end in `endings`, whatever their case.

    Names that begin with a dot are left out. Links are followed, but each real folder is visited once, and those in
    `seen` not at all; `seen` is updated. Refuses a dangling link and a folder that cannot be read."""
    images: list[str] = []
    empty: list[str] = []
    again: list[str] = []
    left_out: Counter[str] = Counter()
    seen = set() if seen is None else seen

    def visit(folder: Path, inside: PurePosixPath) -> None:
        own = folder.stat()
        if (own.st_dev, own.st_ino) in seen:
            left_out[AGAIN] += 1
            again.append(str(inside))
            return
        seen.add((own.st_dev, own.st_ino))
        before, deeper = len(images), []
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            ending = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                left_out[HIDDEN] += 1
            elif entry.is_dir():
                deeper.append(entry.name)
            elif not entry.is_file():
                raise Refusal(f"{entry.path} is a link to nothing, or no file")
            elif ending in endings:
                images.append(str(inside / entry.name))
            elif inside.parts or entry.name != RECORD:
                left_out[ending or "without ending"] += 1
        for name in deeper:
            visit(folder / name, inside / name)
        if len(images) == before:
            empty.append(str(inside))

    try:
        visit(Path(root), PurePosixPath())
    except OSError as error:
        raise Refusal(f"{error.filename or root} cannot be read: {error.strerror}") from None
    return Walked(tuple(images), tuple(empty), tuple(again), left_out)


def list_images(root: Path, split: str, seen: set[Folder] | None = None) -> Listing:
    """The classes and images of `<root>/<split>/<class>/<file>`, or, where `split` is empty, of
    `<root>/<class>/<file>`; a file may lie deeper in its class folder.

    Class names are sorted as strings ("10" before "2", as in the originals), and a label is the index in that list;
    rows go class by class, in the order of `walk`. `seen` as in `walk`. Refuses a missing root or split (naming those
    that exist), a split without class folders, a class folder without .png, .jpg or .jpeg files or that is a link to
    another one, and a file outside a class folder."""
    folder = Path(root) / split
    if not folder.is_dir():
        present = subfolders(root)
        missing = split == "test" and "train" in present or split == "train" and not {*SPLIT_NAMES} & {*present}
        way = _splits_made(root) if present and missing else ""
        raise Refusal(f"{folder} is not a folder; splits under {root}: {', '.join(present) or 'none'}{way}")
    walked = walk(folder, seen=seen)
    classes = subfolders(folder)
    for path in walked.images:
        if "/" not in path:
            raise Refusal(f"{folder / path} is not in a class folder; {NEEDED}")
    for name in walked.again:
        if "/" not in name:
            raise Refusal(f"{folder / name} is a link to a folder that has been read under another name")
    if not classes:
        raise Refusal(f"{folder} has no class folders; {NEEDED}")
    for name in classes:
        if name in walked.empty:
            raise _no_images(folder / name)
    label = {name: number for number, name in enumerate(classes)}
    labels = [label[path.split("/", 1)[0]] for path in walked.images]
    paths = [f"{split}/{path}" if split else path for path in walked.images]
    return Listing(classes, table_of(paths, labels), walked.left_out)


def subfolders(folder: Path) -> list[str]:
    """Sorted names of the folders in `folder`, without hidden ones; empty if it is not a folder."""
    if not Path(folder).is_dir():
        return []
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def image_tree(root: Path, endings: Collection[str] = ENDINGS, *, splits: bool = True) -> Walked:
    """The images of `<root>/<split>/<class>/<file>` or deeper; without `splits`, also of `<root>/<class>/<file>`.

    Refuses a missing or empty tree, a folder without images, and an image outside a class folder."""
    walked = walk(root, endings) if Path(root).is_dir() else Walked((), (), (), Counter())
    if not walked.images:
        raise _no_images(Path(root), endings)
    for path in walked.images:
        parts = PurePosixPath(path).parts
        if len(parts) == 1 or (len(parts) == 2 and parts[0] in SPLIT_NAMES):
            raise Refusal(f"{Path(root) / path} is not in a class folder; {NEEDED}")
        if len(parts) == 2 and splits:
            raise Refusal(f"{Path(root) / path} is in a class folder, but in no split; {NEEDED}{_splits_made(root)}")
    for path in walked.empty:
        raise _no_images(Path(root) / path, endings)
    return walked


def counts_text(numbers: Counter[str]) -> str:
    """The numbers as text, e.g. "3 .bmp, 1 hidden"."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(numbers.items()))


def told_left_out(numbers: Counter[str]) -> str:
    """A line with these numbers and, if some are images, the command that converts them; empty if there are none."""
    if not numbers:
        return ""
    way = f"; {CONVERTS}" if numbers.keys() & readable_endings() else ""
    return f"left out: {counts_text(numbers)}{way}"


def _no_images(folder: Path, endings: Collection[str] = ENDINGS) -> Refusal:
    there = walk(folder, endings).left_out if folder.is_dir() else Counter()
    return Refusal(f"{folder} has no images; {NEEDED}" + "; ".join(["", told_left_out(there)] if there else []))


def _splits_made(root: Path) -> str:
    return f"; `lifeq-jax data prepare --source folder --from {root} --root NEW --test-share 0.2` makes train and test"
