"""Reads a CSV file into image paths and labels."""

import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lifeq_jax.core.refusal import Refusal

COLUMNS = ("image", "label")
LARGEST_LABEL = 2**31 - 1
CLASSES = "classes.json"
OF_SEQUENCE = re.compile(r"(.+)_(train|test|replay)([^_]*)\.csv")


class ImageRow(NamedTuple):
    """The text of one row."""

    image: str
    label: str
    row: int  # of the file, where the row ends; the header is row 1


def read_cells(csv_path: Path) -> list[ImageRow]:
    """The rows under a header with the columns `image` and `label`, in any order; other columns and blank lines are
    ignored.

    Refuses a file that is missing or not UTF-8 CSV, a missing column, and a row of another length than the header."""
    return list(_cells(Path(csv_path), _text(csv_path)))


def image_paths(csv_path: Path, cells: Sequence[ImageRow], root: Path | None) -> list[str]:
    """The path of each image relative to `root`, "/" between parts; without a root, the paths as written.

    With a root, backslashes separate parts unless a file has that very name, and an absolute path may lead into the
    root. Refuses a path that is empty or leaves the root and, if `root` is given, one that is no file under it."""
    inside = None if root is None else (os.path.abspath(root), os.path.realpath(root))
    return [_image_path(cell.image, f"{csv_path}, row {cell.row}", root, inside) for cell in cells]


def labels_of(csv_path: Path, cells: Sequence[ImageRow], num_classes: int | None) -> list[int]:
    """The label of each row: an integer in [0, num_classes). If no row has a number, labels are names of classes.

    `classes.json` in the same folder numbers the names: a list of all names, or an object {name: number}. Without it,
    the names in all `<name>_train*.csv`, `_test*.csv` and `_replay*.csv` of the file's sequence are numbered in sorted
    order. Refuses other labels, and a name that has no number."""
    largest = LARGEST_LABEL if num_classes is None else num_classes - 1
    number = _numbers_of_names(Path(csv_path)) if _are_names(cells) else None
    labels = []
    for cell in cells:
        text = cell.label.strip()
        where = f"{csv_path}, row {cell.row}"
        if number is not None:
            if text not in number:
                raise Refusal(f"{where}: class {text[:40]!r} has no number in {Path(csv_path).with_name(CLASSES)}")
            label, told = number[text], f"{number[text]} (class {text[:40]!r})"
        elif re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            label, told = int(text), text
        else:
            raise Refusal(f"{where}: label {cell.label[:40]!r} is not an integer")
        if not 0 <= label <= largest:
            raise Refusal(f"{where}: label {told} is out of range; choose from 0 to {largest}")
        labels.append(label)
    return labels


def _text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 text (byte {error.start})") from None


def _cells(path: Path, text: str) -> Iterator[ImageRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        image, label, width = _columns(path, next(reader, []))
        for row in reader:
            if row and len(row) != width:
                raise Refusal(f"{path}, row {reader.line_num}: {len(row)} values where the header has {width}")
            if row:
                yield ImageRow(row[image], row[label], reader.line_num)
    except csv.Error as error:
        raise Refusal(f"{path}, row {reader.line_num}: not readable as CSV ({error})") from None


def _columns(path: Path, header: list[str]) -> tuple[int, int, int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            header_line = ",".join(names)[:80]
            raise Refusal(f"{path}, row 1: header {header_line!r} needs one column {column!r} (image,label)")
    return names.index("image"), names.index("label"), len(names)


def _image_path(value: str, where: str, root: Path | None, inside: tuple[str, str] | None) -> str:
    path = value
    if root is not None and inside is not None:
        if "\\" in path and not os.path.isfile(os.path.join(root, path)):
            path = path.replace("\\", "/")
        if path.startswith("/"):
            path = _relative(path, inside)
    path = posixpath.normpath(path)
    if path == "." or "\0" in path:
        raise Refusal(f"{where}: {value[:80]!r} is not an image path")
    if path.startswith("../") or path == ".." or (root is not None and path.startswith("/")):
        raise Refusal(f"{where}: {value[:80]!r} leaves the image root{'' if root is None else f' {root}'}")
    if root is not None and not os.path.isfile(os.path.join(root, path)):
        raise Refusal(
            f"{where}: {value[:80]!r} is not a file under {root}; if the images have moved, name their folder "
            "by --root, in training --data.root"
        )
    return path


def _relative(path: str, inside: tuple[str, str]) -> str:
    """An absolute path relative to the root, whose two absolute names are `inside`; other paths unchanged."""
    absolute, real = inside
    path = posixpath.normpath(path)
    for folder, there in ((absolute, path), (real, path), (real, os.path.realpath(path))):
        if there.startswith(f"{folder}/"):
            return there[len(folder) + 1 :]
    return path


def _are_names(cells: Sequence[ImageRow]) -> bool:
    return bool(cells) and not any(_is_number(cell.label.strip()) for cell in cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _numbers_of_names(csv_path: Path) -> Mapping[str, int]:
    file = csv_path.with_name(CLASSES)
    if file.exists():
        return _given(file)
    match = OF_SEQUENCE.fullmatch(csv_path.name)
    if match is None:
        raise Refusal(f"{csv_path}: labels are names of classes, and {file}, which numbers them, does not exist")
    beside = sorted(path for path in csv_path.parent.glob("*.csv") if _name_of(path) == match[1])
    return _sorted_names(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in beside))


def _name_of(path: Path) -> str | None:
    match = OF_SEQUENCE.fullmatch(path.name)
    return match[1] if match else None


@lru_cache(maxsize=4)
def _sorted_names(files: tuple[tuple[Path, int, int], ...]) -> Mapping[str, int]:
    """The numbers of all names in a sequence's files; time and size are arguments, so that a changed file is a cache
    miss."""
    tables = [read_cells(path) for path, *_ in files]
    names = {cell.label.strip() for cells in tables if _are_names(cells) for cell in cells}
    return {name: number for number, name in enumerate(sorted(names))}


def _given(file: Path) -> Mapping[str, int]:
    try:
        given = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{file} is not JSON: {error}") from None
    if isinstance(given, list) and len({*map(str, given)}) == len(given):
        given = {name: number for number, name in enumerate(given)}
    if not isinstance(given, dict) or not all(
        isinstance(name, str) and type(number) is int for name, number in given.items()
    ):
        raise Refusal(f"{file} is neither a list of different names of classes nor an object of names and numbers")
    return given
