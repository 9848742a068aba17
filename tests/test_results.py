"""results/targets.csv holds a row for every recipe, and docs/measured.md repeats its figures."""

import csv
from pathlib import Path

import pytest

from lifeq_jax.core.recipe_file import listed_recipes

HEADER = ["recipe", "metric", "paper", "original", "ours", "spread", "seeds", "commit", "verdict"]
VERDICTS = {"as the paper", "below the paper", "not in the paper", "not run", "short run"}

with Path("results/targets.csv").open(newline="") as file:
    READER = csv.DictReader(file)
    ROWS = list(READER)
RUN = [row for row in ROWS if row["ours"]]


def name_of(row: dict[str, str]) -> str:
    """What pytest calls the row."""
    return f"{row['recipe']}-{row['metric']}"


def test_header_is_the_documented_one():
    assert READER.fieldnames == HEADER


def test_every_recipe_has_a_row_and_every_row_a_recipe():
    assert {row["recipe"] for row in ROWS} == {listed.name for listed in listed_recipes()}


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_figure_says_where_it_comes_from(row):
    assert row["verdict"] in VERDICTS
    run = row["verdict"] != "not run"
    assert bool(row["ours"]) == bool(row["commit"]) == run
    assert int(row["seeds"]) >= 1 if run else row["seeds"] == "0"
    assert bool(row["spread"]) == (int(row["seeds"]) > 1)
    if run:
        most = 1_000_000 if row["metric"].startswith("return") else 100  # of games, and per cent
        assert 0 <= float(row["ours"]) <= most


@pytest.mark.parametrize("row", RUN, ids=name_of)
def test_the_documentation_repeats_the_figure(row):
    figure = f"{row['ours']} ± {row['spread']}" if row["spread"] else row["ours"]
    assert figure in Path("docs/measured.md").read_text()
