"""Runs read again: rows, tables, curves, report, and what a notebook shows."""

import base64
import json
import re

import pytest

import lifeq_jax as lq
from lifeq_jax.report.tables import per_cent
from lifeq_jax.runs.folder import write_diverged


@pytest.fixture(scope="module")
def two(recipe, folder, tmp_path_factory):
    """Two finished seeds, beside one that has diverged and one that has not ended."""
    place = tmp_path_factory.mktemp("seeds") / "two"
    lq.train(recipe, place, seeds=(0, 1), log=lambda line: None)
    for seed in (2, 3):
        (place / f"seed{seed}").mkdir()
        (place / f"seed{seed}" / "config.json").write_text(
            (place / "seed0" / "config.json").read_text().replace('"seed": 0', f'"seed": {seed}')
        )
    write_diverged(place / "seed2", "task 1: not finite")
    return place


def test_rows_hold_what_the_summaries_say(two):
    rows = lq.read(two).rows()
    assert [(row["seed"], row["status"]) for row in rows] == [
        (0, "finished"),
        (1, "finished"),
        (2, "diverged: task 1: not finite"),
        (3, "unfinished"),
    ]
    summary = json.loads((two / "seed1" / "summary.json").read_text())
    assert {**rows[1], **summary["metrics"]} == rows[1] and rows[1]["seconds"] == summary["seconds"]
    assert rows[1]["balanced_accuracy"] != rows[0]["balanced_accuracy"]
    assert "average_accuracy" not in rows[2] and rows[2]["method"] == "finetune"


def test_a_run_alone_is_the_same_run_as_among_seeds(two, folder):
    first, alone = lq.read(two).finished[0], lq.read(folder).finished[0]
    assert (first.matrix == alone.matrix).all() and first.recipe == alone.recipe


def test_tables_have_the_numbers_of_the_runs(two):
    runs = lq.read(two)
    last = runs.table().splitlines()[-1]
    mean = sum(row["average_accuracy"] for row in runs.rows()[:2]) / 2
    assert per_cent(mean) in last and "±" in last and "| 2 " in last
    matrix = sum(run.matrix for run in runs.finished) / 2
    assert all(per_cent(value) in runs.matrix() for value in matrix.ravel())


def test_a_folder_of_folders_is_read_too(two, folder):
    runs = lq.read(two.parent)
    assert [run.folder for run in runs.finished] == [two / "seed0", two / "seed1"]
    assert len(lq.read(two / "seed1", folder).finished) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("none", "none/config.json does not exist"), ("empty", "empty/config.json does not exist")]
)
def test_a_folder_without_runs_is_refused(tmp_path, name, text):
    (tmp_path / "empty").mkdir()
    with pytest.raises(lq.Refusal, match=text):
        lq.read(tmp_path / name)


def test_a_notebook_shows_tables_and_pictures(two):
    runs = lq.read(two)
    shown = runs._repr_markdown_()
    assert shown.startswith(runs.table()) and "seed2`: diverged: task 1: not finite" in shown
    assert runs.matrix()._repr_markdown_() == str(runs.matrix()) == repr(runs.matrix()) and repr(runs) == shown
    (picture,) = re.findall('<img src="data:image/png;base64,([^"]+)">', runs.curves()._repr_html_())
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_several_pictures_are_not_saved_as_one(recipe, folder, two, tmp_path):
    other = recipe.replace({"name": "other"})
    lq.train(other, tmp_path / "other", log=lambda line: None)
    curves = lq.read(folder, tmp_path / "other").curves()
    assert sorted(curves.figures) == ["other", "tiny"] and curves._repr_html_().count("<img") == 2
    with pytest.raises(lq.Refusal, match="there are 2; save each of .figures"):
        curves.save(tmp_path / "curves.png")


def test_the_report_lists_the_runs_it_leaves_out(two, tmp_path):
    text = lq.read(two).report(tmp_path / "report").read_text()
    assert "seed2`: diverged: task 1: not finite" in text
