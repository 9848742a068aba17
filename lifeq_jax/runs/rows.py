"""CSV files of a run folder, read row by row and checked."""

import csv
import math
from collections.abc import Sequence
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import numpy as np

from lifeq_jax.core.files import read_text
from lifeq_jax.core.refusal import Refusal


def read_rows(path: Path, least: int = 1) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file.

    Raises:
        Refusal: there is no such file, it has fewer rows than `least`, or a row does not fit the header."""
    text = read_text(path, f"{path.parent} is not a finished run")
    try:
        lines = [line for line in csv.reader(StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise Refusal(f"{path} is not CSV: {error}") from None
    if len(lines) < 1 + least:
        raise Refusal(f"{path} has no rows")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(lines[0]):
            raise Refusal(f"{path}, row {number}: {len(line)} values under {len(lines[0])} headings")
    return lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_table(path: Path, columns: Sequence[str], least: int = 1) -> list[dict[str, str]]:
    """The rows of a CSV file that has exactly these columns. Refuses as `read_rows`, and any other header."""
    header, rows = read_rows(path, least)
    for number, (found, wanted) in enumerate(zip_longest(header, columns, fillvalue=""), start=1):
        if found != wanted:
            raise Refusal(f"{path}: the heading of column {number} is {found!r}; it must be {wanted!r}")
    return rows


def read_shares(path: Path, rows: list[dict[str, str]], columns: Sequence[str]) -> np.ndarray:
    """(rows, columns) float64; an empty cell is NaN.

    Refuses, naming row and column, what is not a share from 0 to 1."""
    table = [
        [_share(row[name], f"{path}, row {number}: {name}") for name in columns]
        for number, row in enumerate(rows, start=1)
    ]
    return np.array(table)


def _share(text: str, place: str) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        raise Refusal(f"{place}={text!r} is not a number") from None
    if not (math.isnan(value) or 0 <= value <= 1):
        raise Refusal(f"{place}={text!r} is not a share from 0 to 1")
    return value


def read_whole_numbers(path: Path, rows: list[dict[str, str]], name: str) -> tuple[int, ...]:
    """A column of whole numbers from 0, of at most 15 digits so that sums fit 64 bits. Refuses anything else."""
    for number, row in enumerate(rows, start=1):
        if not (row[name].isdecimal() and len(row[name]) <= 15):
            raise Refusal(f"{path}, row {number}: {name}={row[name]!r} is not a whole number")
    return tuple(int(row[name]) for row in rows)
