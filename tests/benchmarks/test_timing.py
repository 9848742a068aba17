"""Turns, ratios and tables by hand."""

import pytest

from benchmarks.timing import BenchmarkResult, alternate, medians, medians_of_ratios, rounded
from lifeq_jax.core.refusal import Refusal


def test_runs_take_turns():
    calls = []
    times, processor = alternate({"a": lambda n: calls.append(("a", n)), "b": lambda n: calls.append(("b", n))}, 2, 3)
    assert calls == [("a", 2), ("b", 2), *[("a", 3), ("b", 3)] * 2]
    assert [len(values) for values in (*times.values(), *processor.values())] == [2] * 4


def test_no_repeats_are_refused():
    with pytest.raises(Refusal, match="repeats=0"):
        alternate({"a": lambda n: None}, 0, 1)


def test_ratios_are_of_one_repeat():
    times = {"a": [1.0, 2.0, 4.0], "b": [3.0, 4.0, 4.0]}
    assert medians(times) == {"a": 2.0, "b": 4.0}
    assert medians_of_ratios(times, "a") == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    ("value", "told"), [(175548.6, 175549.0), (417.234, 417.2), (1.01449, 1.014), (0.0123456, 0.01235), (0.0, 0.0)]
)
def test_numbers_are_told_with_four_digits(value, told):
    assert rounded(value) == told


def test_one_record_gives_the_file_and_the_table():
    columns = {"images_per_second": {"a": 175548.6, "b": 12.3456}, "time_ratio": {"b": 1.5}}
    found = BenchmarkResult(
        "steps", {"batch_size": 2}, columns, {"limit": 0.125, "torch": "2.13"}, {"load_before": 0.5}
    )
    assert found.numbers() == {
        "what": "steps",
        "batch_size": 2,
        "images_per_second": {"a": 175549.0, "b": 12.35},
        "time_ratio": {"b": 1.5},
        "limit": 0.125,
        "torch": "2.13",
        "load_before": 0.5,
    }
    assert found.text().splitlines() == [
        "**steps**: batch size 2; medians",
        "",
        "|     | images per second | time ratio |",
        "| --- | ----------------- | ---------- |",
        "| a   | 175,549           |            |",
        "| b   | 12.35             | 1.5        |",
        "",
        "limit: 0.125; torch: 2.13; load before: 0.5",
    ]
