"""Reads and checks the rows of CSV files in a run folder."""

import csv
import math
import sys
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
    """The rows of a CSV file with exactly these columns. Refuses what `read_rows` refuses, and any other header."""
    header, rows = read_rows(path, least)
    for number, (found, wanted) in enumerate(zip_longest(header, columns, fillvalue=""), start=1):
        if found != wanted:
            raise Refusal(f"{path}: the heading of column {number} is {found!r}; it must be {wanted!r}")
    return rows


def read_shares(path: Path, rows: list[dict[str, str]], columns: Sequence[str]) -> np.ndarray:
    """(rows, columns) float64; an empty cell is NaN.

    Refuses, naming row and column, values outside [0, 1]."""
    return _read_numbers(path, rows, columns, 1, "a share from 0 to 1")


def read_amounts(path: Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    """(rows,) float64 of a column; an empty cell is NaN. Refuses what is not a number from 0."""
    return _read_numbers(path, rows, [name], sys.float_info.max, "a number from 0")[:, 0]


def _read_numbers(
    path: Path, rows: list[dict[str, str]], columns: Sequence[str], most: float, wanted: str
) -> np.ndarray:
    table = np.empty((len(rows), len(columns)))
    for row, column in np.ndindex(table.shape):
        text = rows[row][columns[column]]
        place = f"{path}, row {row + 1}: {columns[column]}={text!r}"
        try:
            value = float(text or "nan")
        except ValueError:
            raise Refusal(f"{place} is not a number") from None
        if not (math.isnan(value) or 0 <= value <= most):
            raise Refusal(f"{place} is not {wanted}")
        table[row, column] = value
    return table


def read_whole_numbers(path: Path, rows: list[dict[str, str]], name: str) -> tuple[int, ...]:
    """A column of whole numbers, 0 or more, of at most 15 digits, so that sums fit 64 bits. Refuses other values."""
    for number, row in enumerate(rows, start=1):
        if not (row[name].isdecimal() and len(row[name]) <= 15):
            raise Refusal(f"{path}, row {number}: {name}={row[name]!r} is not a whole number")
    return tuple(int(row[name]) for row in rows)
