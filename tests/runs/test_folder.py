"""Whose a run folder is, how its run ended, what several seeds gave, and which code made it."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs import provenance
from lifeq_jax.runs.folder import only_writer, open_run_folder, seed_folders, status, write_diverged, write_seeds
from lifeq_jax.train.build import complete
from lifeq_jax.train.drive import run_seeds
from tests.runs.folders import MATRIX, make_run, recipe

HALVED = (np.array(MATRIX) / 2).tolist()
REASON = "the loss is not finite at step 3"


def make_seeds(folder, *seeds, **kwargs):
    for seed in seeds:
        matrix = HALVED if seed == 1 else MATRIX
        make_run(folder / f"seed{seed}", complete(recipe(seed=seed)), matrix, **kwargs)


def test_another_recipe_is_refused_by_its_key(tmp_path):
    open_run_folder(tmp_path, recipe())
    open_run_folder(tmp_path, recipe())
    with pytest.raises(Refusal, match=r"belongs to a recipe with stages\.1\.epochs=2, this one has 1; choose another"):
        stages = recipe().stages
        open_run_folder(
            tmp_path, dataclasses.replace(recipe(), stages=(stages[0], dataclasses.replace(stages[1], epochs=1)))
        )


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match=r"run folder .*file/run cannot be written: Not a directory"):
        open_run_folder(tmp_path / "file" / "run", recipe())


def test_a_folder_has_one_writer(tmp_path):
    with (
        only_writer(tmp_path),
        pytest.raises(Refusal, match="is being written by another process"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):
        pass


def test_status(tmp_path):
    folder = make_run(tmp_path / "run", finished=False)
    assert status(folder) == "unfinished"
    write_diverged(folder, REASON)
    assert status(folder) == f"diverged: {REASON}"
    assert status(make_run(folder)) == "finished" and not (folder / "diverged.json").exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"reason": 3}', "{", "\ufeff{}"])
def test_a_damaged_reason_is_refused(tmp_path, text):
    (tmp_path / "diverged.json").write_text(text)
    with pytest.raises(Refusal, match=r"^[^\n]*diverged\.json(, line 1: not JSON| does not hold the reason)[^\n]*$"):
        status(tmp_path)


def test_seeds_are_those_finished_and_the_others_say_why(tmp_path):
    make_seeds(tmp_path, 10, 1, 2)
    make_seeds(tmp_path, 3, 4, finished=False)
    write_diverged(tmp_path / "seed3", REASON)
    shutil.copytree(tmp_path / "seed1", tmp_path / "seed01")  # neither this nor an empty folder is a run of a seed
    (tmp_path / "seed6").mkdir()
    assert list(seed_folders(tmp_path)) == [1, 2, 3, 4, 10]
    content = write_seeds(tmp_path)
    assert content == json.loads((tmp_path / "seeds.json").read_text())
    assert content.keys() == {"name", "seeds", "metrics", "unfinished"}
    assert (content["name"], content["seeds"]) == ("digits", [1, 2, 10])
    assert content["unfinished"] == {"3": f"diverged: {REASON}", "4": "unfinished"}
    mean = (0.5 + 0.85 + 0.7) / 3
    average = content["metrics"]["average_accuracy"]
    assert average["mean"] == pytest.approx(mean * 2.5 / 3)
    assert average["std"] == pytest.approx(mean / 2 / np.sqrt(3))  # of 1/2, 1 and 1
    assert content["metrics"]["bwt"]["mean"] < 0 and "balanced_accuracy" in content["metrics"]


def test_seeds_of_one_and_of_none_that_finished(tmp_path):
    make_seeds(tmp_path, 0, finished=False)
    assert write_seeds(tmp_path) == {"name": "digits", "seeds": [], "metrics": {}, "unfinished": {"0": "unfinished"}}
    make_seeds(tmp_path, 1)
    assert write_seeds(tmp_path)["metrics"]["forgetting"] == {"mean": pytest.approx(0.1125), "std": None}


def test_another_seed_of_a_folder_is_put_to_those_before(tmp_path):
    make_seeds(tmp_path, 0, 1)
    assert run_seeds(recipe(), [0, 1], tmp_path, log=lambda line: None)["seeds"] == [0, 1]
    make_seeds(tmp_path, 2)
    content = run_seeds(recipe(), [2], tmp_path, log=lambda line: None)  # all are finished, nothing trains
    assert content["seeds"] == [0, 1, 2] and content["metrics"]["forgetting"]["std"] > 0


def test_seeds_of_another_recipe_are_refused(tmp_path):
    make_seeds(tmp_path, 0)
    make_run(tmp_path / "seed1", recipe(seed=1, method="ewc"))
    with pytest.raises(Refusal, match=r"seed1 belongs to another recipe than seed 0; choose another --run folder"):
        write_seeds(tmp_path)
    assert not (tmp_path / "seeds.json").exists()


def test_seeds_of_other_metrics_are_refused(tmp_path):
    make_seeds(tmp_path, 0, 1)
    path = tmp_path / "seed1" / "summary.json"
    path.write_text(path.read_text().replace('"bwt"', '"fwt"'))
    with pytest.raises(Refusal, match=r"seed1/summary\.json: the metrics are .*fwt.*; another seed has .*bwt"):
        write_seeds(tmp_path)


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def make_repository(folder):
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "theirs.txt").write_text("one")
    git(folder, "add", "theirs.txt")
    git(folder, "commit", "-q", "-m", "one")
    return git(folder, "rev-parse", "--short", "HEAD").strip()


def commit_of(root):
    """What commit() says of the package in `root`, to which its sources are copied."""
    package = Path(provenance.__file__).parent.parent
    shutil.copytree(package / "runs", root / "lifeq_jax" / "runs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(package / "__init__.py", root / "lifeq_jax")
    code = (
        f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(root)!r}); "
        "from lifeq_jax.runs import provenance; print(provenance.PACKAGE); print(provenance.commit())"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    place, commit = lines.splitlines()
    assert Path(place).resolve() == (root / "lifeq_jax").resolve()
    return commit


@pytest.mark.parametrize("place", ["other/venv/site-packages", "none"])
def test_the_commit_of_a_foreign_repository_is_not_ours(tmp_path, place):
    theirs = make_repository(tmp_path / "other")
    commit = commit_of(tmp_path / place)
    assert theirs not in commit and (commit.startswith("version ") or commit == "unknown")


def test_the_commit_of_the_checkout_and_whether_it_differs(tmp_path):
    ours = make_repository(tmp_path / "ours")
    assert commit_of(tmp_path / "ours") == ours
    shutil.rmtree(tmp_path / "ours" / "lifeq_jax")
    (tmp_path / "ours" / "theirs.txt").write_text("two")
    assert commit_of(tmp_path / "ours") == f"{ours}+"
