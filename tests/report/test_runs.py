"""What a run folder says comes back unchanged, and a damaged one is refused in one line."""

import json

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.runs import read_run, run_folders
from tests.report.folders import MATRIX, recipe, write_run


def test_reads_what_was_written(tmp_path):
    run = read_run(write_run(tmp_path / "run", recipe(seed=7)))
    assert run.recipe == recipe(seed=7)
    np.testing.assert_array_equal(run.matrix, MATRIX)
    assert run.stages == {"float": (0.9, 0.1, 0.0), "four": (0.5, 0.85, 0.7)}
    assert (run.seconds, run.commit, run.machine) == (61.5, "abc1234", "2 cores")


def test_a_path_as_text_will_do(tmp_path):
    assert read_run(str(write_run(tmp_path / "run"))).folder == tmp_path / "run"


def test_a_folder_of_seeds_stands_for_their_runs(tmp_path):
    runs = [write_run(tmp_path / f"seed{seed}", recipe(seed=seed)) for seed in (0, 1)]
    assert run_folders(tmp_path) == [tmp_path]
    (tmp_path / "seeds.json").write_text("{}")
    assert run_folders(tmp_path) == runs
    assert run_folders(runs[0]) == runs[:1]


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "seeds.json").write_text("{}")
    with pytest.raises(Refusal, match="is .*seeds.json a run folder"):
        read_run(tmp_path / "seeds.json")


def test_tasks_to_come_may_be_empty(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "accuracy_matrix.csv").write_text("task_0,task_1\n0.5,\n0.25,nan\n".replace("nan", "1"))
    np.testing.assert_array_equal(read_run(folder).matrix, [[0.5, np.nan], [0.25, 1.0]])


@pytest.mark.parametrize("name", ["config.json", "summary.json", "accuracy_matrix.csv", "metrics.csv"])
def test_refuses_a_folder_that_lacks_a_file(tmp_path, name):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(Refusal) as refused:
        read_run(folder)
    assert str(refused.value).startswith(f"{folder / name} does not exist")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["summary.json", "accuracy_matrix.csv", "metrics.csv"])
def test_refuses_a_file_that_is_not_text(tmp_path, name):
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match=f"{name} is not (JSON|CSV): "):
        read_run(folder)


def test_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(Refusal, match="config.json does not exist; is .*nowhere a run folder"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"finished": False}, "does not say finished: true; {folder} is not a finished run"),
        ({"stages": [1]}, ": stages=[1] is missing or of another type"),
        ({"seconds": None}, ": seconds=None is missing or of another type"),
        ({"commit": 3}, ": commit=3 is missing or of another type"),
        (
            {"stages": {"four": [0.5, 1.5]}},
            ": stages of 'four'=[0.5, 1.5] is not a list of accuracies from 0 to 1",
        ),
        ({"stages": {"four": "much"}}, ": stages of 'four'='much' is not a list of accuracies from 0 to 1"),
    ],
)
def test_refuses_a_summary(tmp_path, change, line):
    folder = write_run(tmp_path / "run")
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Refusal) as refused:
        read_run(folder)
    assert str(refused.value).removeprefix(str(path)).lstrip() == line.format(folder=folder)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_refuses_a_summary_that_is_no_record(tmp_path, text):
    folder = write_run(tmp_path / "run")
    (folder / "summary.json").write_text(text)
    with pytest.raises(Refusal, match=r"summary\.json (is not JSON: Expecting|does not say finished: true)"):
        read_run(folder)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("task_0,task_1\n0.5,0.5\n", ": 1 rows need the header task_0, not task_0,task_1"),
        ("task_1,task_0\n1,0\n1,0\n", ": 2 rows need the header task_0,task_1, not task_1,task_0"),
        ("task_0,task_1\n0.5,0.5\n0.5\n", ", row 2: 1 values under 2 headings"),
        ("task_0\nhalf\n", ", row 1: task_0='half' is not a number"),
        ("task_0\n91.5\n", ", row 1: task_0='91.5' is not a share from 0 to 1"),
        ("task_0\nnan\n", ": the accuracy matrix holds nan after task 0 on task 0; it must be finite"),
        ("task_0\n", " has no rows"),
        ("", " has no rows"),
    ],
)
def test_refuses_a_matrix(tmp_path, text, line):
    folder = write_run(tmp_path / "run")
    path = folder / "accuracy_matrix.csv"
    path.write_text(text)
    with pytest.raises(Refusal) as refused:
        read_run(folder)
    assert str(refused.value) == f"{path}{line}"
