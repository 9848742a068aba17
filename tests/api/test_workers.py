"""The jobs of a sweep, with submitit's local executor: they give the table that one process gives."""

import pytest

import lifeq_jax as lq
from lifeq_jax.cli import main

pytest.importorskip("submitit", reason="the extra `search` is not installed")


@pytest.fixture
def words(recipe, tmp_path):
    """The command of a sweep with two cells."""
    path = tmp_path / "tiny.py"
    short = recipe.replace({"stages": recipe.stages[:1]})
    path.write_text(f"from lifeq_jax.core.config import *\nrecipe = {short!r}\n")
    return ["sweep", str(path), "--grid", "loss.name=cross_entropy,ball_shift", "--optimizer.schedule", "constant"]


def table_of(said):
    return [line for line in said.splitlines() if line.startswith("|")]


def test_two_workers_give_the_table_that_one_process_gives(words, tmp_path, capsys):
    shared = tmp_path / "shared"
    assert main([*words, "--run", str(shared), "--slurm", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 x LocalJob: " in said
    logs = [path.read_text() for path in (shared / "slurm").glob("*_log.out")]
    assert len(logs) == 2 and all(table_of(said)[0] in log for log in logs)
    assert main([*words, "--run", str(tmp_path / "alone")]) == 0
    assert table_of(said) == table_of(capsys.readouterr().out) and len(table_of(said)) == 4
    assert [row["status"] for row in lq.read(shared).rows()] == ["finished"] * 2


@pytest.mark.parametrize(
    ("jobs", "settings", "text"),
    [
        ("0", "", "--slurm 0 is out of range"),
        ("1", "timeout_min", "--slurm-settings timeout_min has no value for timeout_min; write name=value"),
        ("1", "hours=3", "--slurm-settings hours=3: "),
    ],
)
def test_wrong_settings_are_refused_before_a_job_starts(words, tmp_path, capsys, jobs, settings, text):
    assert main([*words, "--run", str(tmp_path / "x"), "--slurm", jobs, "--slurm-settings", settings]) == 2
    assert text in capsys.readouterr().err and not list(tmp_path.glob("x/slurm/*"))


def test_a_wrong_grid_is_refused_before_a_job_starts(words, tmp_path, capsys):
    wrong = [*words, "--grid", "optimizer.colour=1", "--run", str(tmp_path / "x"), "--slurm", "1"]
    assert main(wrong) == 2
    assert "optimizer.colour" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_failed_job_is_named_with_its_output(words, tmp_path, capsys):
    """The job refuses what the submitting process has not looked at yet."""
    assert main([*words, "--data.csv", str(tmp_path / "nothing"), "--run", str(tmp_path / "x"), "--slurm", "1"]) == 2
    said = capsys.readouterr().err
    assert "failed: " in said and "nothing_train0.csv" in said and "_log.err" in said
