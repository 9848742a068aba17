"""Speed as ratios within one run: variants take turns, so that changes of the machine's load affect all of them."""

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.provenance import commit, machine

DIGITS = 4  # significant digits of a printed number
AGAIN = " again"  # suffix of a control: the variant of the name without it, measured a second time

Run = Callable[[int], None]  # does its work so many times and waits for the end


class BenchmarkResult(NamedTuple):
    """The result of a benchmark: a table, its arguments, and the machine."""

    what: str
    how: dict[str, int]  # batch_size, repeats, ...
    columns: dict[str, dict[str, float]]  # quantity -> row -> value; a row may be missing from a column
    facts: dict[str, float | str]  # numbers that belong to no row
    where: dict[str, Any]  # `surroundings`

    def numbers(self) -> dict[str, Any]:
        """All of it, for a file."""
        columns = {
            name: {row: rounded(value) for row, value in column.items()} for name, column in self.columns.items()
        }
        facts = {name: fact if isinstance(fact, str) else rounded(fact) for name, fact in self.facts.items()}
        return {"what": self.what, **self.how, **columns, **facts, **self.where}

    def text(self) -> str:
        """All of it, in Markdown."""
        rows = list(dict.fromkeys(row for column in self.columns.values() for row in column))
        table = markdown_table(
            ["", *map(_words, self.columns)],
            [[row, *(_shown(column.get(row)) for column in self.columns.values())] for row in rows],
        )
        head = f"**{self.what}**: " + ", ".join(f"{_words(name)} {number}" for name, number in self.how.items())
        facts = [f"{_words(name)}: {_shown(fact)}" for name, fact in (self.facts | self.where).items()]
        return f"{head}; medians\n\n{table}\n\n" + "; ".join(facts)


def rounded(value: float) -> float:
    """Rounds to DIGITS significant digits, but never digits before the point."""
    return round(value, DIGITS - 1 - min(math.floor(math.log10(abs(value))), DIGITS - 1)) if value else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{rounded(value):,g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def columns_of(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{row: {quantity: value}}, with the same quantities in all rows, as {quantity: {row: value}}."""
    return {column: {name: row[column] for name, row in rows.items()} for column in next(iter(rows.values()))}


def alternate(runs: Mapping[str, Run], repeats: int, steps: int) -> tuple[dict[str, list[float]], ...]:
    """Seconds per execution of each run, `repeats` values each; a repeat executes every run `steps` times in turn.

    Two executions come first, unmeasured. Returns wall-clock seconds, and processor seconds of all threads, which other
    work on the machine hardly changes. Refuses numbers below 1."""
    check_counts(repeats=repeats, steps=steps)
    for run in runs.values():
        run(2)
    clocks = (time.perf_counter, time.process_time)
    found: tuple[dict[str, list[float]], ...] = tuple({name: [] for name in runs} for _ in clocks)
    for _ in range(repeats):
        for name, run in runs.items():
            start = [clock() for clock in clocks]
            run(steps)
            for times, clock, before in zip(found, clocks, start, strict=True):
                times[name].append((clock() - before) / steps)
    return found


def check_counts(**counts: int) -> None:
    """Refuses numbers below 1."""
    for name, count in counts.items():
        if count < 1:
            raise Refusal(f"{name}={count} is out of range; choose 1 or more")


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each run's times."""
    return {name: statistics.median(values) for name, values in times.items()}


def medians_of_ratios(times: Mapping[str, Sequence[float]], base: str) -> dict[str, float]:
    """The median over repeats of the ratio of each time to that of `base` in the same repeat."""
    return {
        name: statistics.median(ours / other for ours, other in zip(values, times[base], strict=True))
        for name, values in times.items()
    }


def load() -> float:
    """The machine's load: mean number of ready processes over a minute."""
    return os.getloadavg()[0]


def surroundings(load_before: float) -> dict[str, Any]:
    """The machine and the code of a measurement; `load_before`: `load` before it."""
    return {
        "load_before": round(load_before, 2),
        "machine": machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit(),
    }
