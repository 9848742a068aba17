"""Searches: validation images choose, stopped ones go on as if they had not been, several processes share them."""

import json
import threading
import time

import jax
import pytest
from filelock import FileLock

import lifeq_jax as lq
from lifeq_jax.api.cells import make_cells
from lifeq_jax.api.search import JOURNAL, _distributions
from lifeq_jax.cli import main
from lifeq_jax.core.config import digest

pytest.importorskip("optuna", reason="the extra `search` is not installed")
RATE, STRENGTH = "stages.0.learning_rate", "method.args.strength"
SPACE = {
    RATE: lq.Between(1e-3, 1.0),
    "loss": ["cross_entropy", ("ball_shift", {})],
    "model.args.hidden": lq.Between(4, 8),
}


@pytest.fixture(scope="module")
def short(recipe):
    """One stage of the recipe."""
    return recipe.replace({"stages": recipe.stages[2:], RATE: 0.1})


@pytest.fixture(scope="module")
def whole(short, tmp_path_factory):
    """(search of seven trials with two seeds, its folder)."""
    folder = tmp_path_factory.mktemp("search")
    return lq.search(short, SPACE, folder, trials=7, seeds=(0, 1)), folder


def values(found):
    return [{key: row[key] for key in SPACE} | {"status": row["status"]} for row in found.trials]


def test_the_best_trial_is_chosen(whole, short):
    found, folder = whole
    assert len(found.trials) == 7 and found.trials[0][RATE] == 0.1  # the first has the recipe's own values
    finished = [row for row in found.trials if row["status"] == "finished"]
    best = max(finished, key=lambda row: row["average_accuracy"])
    assert found.values[RATE] == best[RATE] == found.recipe.stages[0].learning_rate
    assert found.recipe.model.args["hidden"] == best["model.args.hidden"] and found.recipe.data.evaluate_on == "test"
    chosen = json.loads((folder / "chosen.json").read_text())
    assert chosen["values"][RATE] == best[RATE] and chosen["average_accuracy"] == best["average_accuracy"]
    assert {type(row["model.args.hidden"]) for row in found.trials} == {int}
    assert found.table().splitlines()[0].split()[1:8:2] == [RATE, "loss", "model.args.hidden", "average_accuracy"]


def test_trials_are_measured_on_validation_images_and_hopeless_ones_pruned(whole):
    found, folder = whole
    runs = lq.read(folder)
    assert {run.recipe.data.evaluate_on for run in runs.finished} == {"validation"}
    statuses = [row["status"] for row in found.trials]
    assert statuses[:5] == ["finished"] * 5 and "pruned" in statuses[5:]
    assert len(runs.finished) == 2 * statuses.count("finished") + statuses.count("pruned")


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(whole, short, tmp_path):
    lines = []

    def log(line):
        lines.append(line)
        if len(lines) in (4, 15):  # in the second seed of a trial, and in a later trial
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            lq.search(short, SPACE, tmp_path, trials=7, seeds=(0, 1), log=log)
    again = lq.search(short, SPACE, tmp_path, trials=7, seeds=(0, 1), log=log)
    assert values(again) == values(whole[0]) and again.values == whole[0].values
    assert [row["average_accuracy"] for row in again.trials] == [row["average_accuracy"] for row in whole[0].trials]


def test_processes_share_the_trials(short, tmp_path):
    """A trial that another process works on is left to it, waited for, and counted."""
    lq.search(short, SPACE, tmp_path, trials=1)
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    theirs, locked = study.ask(_distributions(optuna, short, SPACE)), threading.Event()

    def other():
        with FileLock(tmp_path / "locks" / f"trial{theirs.number}"):
            locked.set()
            while len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) < 2:
                time.sleep(0.1)
            time.sleep(2)
            theirs.report(0.5, 1)
            study.tell(theirs, 0.5)

    threading.Thread(target=other).start()
    assert locked.wait(60)
    found = lq.search(short, SPACE, tmp_path, trials=3)
    assert len(found.trials) == 3 and found.trials[theirs.number]["average_accuracy"] == 0.5


def test_two_processes_may_try_the_same_values(short, tmp_path):
    [cell] = make_cells(short, {RATE: [0.1]}, "validation")
    (tmp_path / "locks").mkdir()
    lock, locked, seen = FileLock(tmp_path / "locks" / digest(cell.recipe), thread_local=False), threading.Event(), []

    def other():
        with lock:
            locked.set()
            time.sleep(3)

    threading.Thread(target=other).start()
    assert locked.wait(60)
    found = lq.search(short, {RATE: [0.1]}, tmp_path, trials=1, log=lambda line: seen.append(lock.is_locked))
    assert found.values == {RATE: 0.1} and len(seen) > 1 and not any(seen)


def test_a_trial_that_diverges_is_a_result(short, tmp_path):
    with jax.debug_nans(False):
        steep = short.replace({"optimizer.schedule": "constant", "optimizer.weight_decay": 1.0})
        found = lq.search(steep, {RATE: [1e6, 0.1]}, tmp_path / "some", trials=3)
        assert {row["status"].split(":")[0] for row in found.trials} == {"diverged", "finished"}
        assert found.values == {RATE: 0.1} and "diverged: stage w4a4" in found.table()
        with pytest.raises(lq.Diverged, match="none of the 1 trials finished; diverged: stage w4a4"):
            lq.search(steep, {RATE: [1e6]}, tmp_path / "none", trials=1)


@pytest.mark.parametrize(
    ("values", "space", "text"),
    [
        ({"data.validation": 0.0}, {RATE: lq.Between(0.1, 1.0)}, "data.validation=0.0 holds no training images out"),
        ({}, {RATE: lq.Between(0.0, 1.0)}, "give a low end, above 0 on a logarithmic axis"),
        ({}, {"stages.0.rate": lq.Between(0.1, 1.0)}, "recipe.stages.0.rate is an unknown key"),
        ({}, {RATE: lq.Between(0.1, 1e9)}, "stage.learning_rate=1000000000.0 is out of range"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_is_written(short, tmp_path, values, space, text):
    with pytest.raises(lq.Refusal, match=text):
        lq.search(short.replace(values), space, tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_folder_of_another_search_is_refused(whole, short):
    with pytest.raises(lq.Refusal, match="belongs to a search with another space"):
        lq.search(short, {RATE: lq.Between(0.1, 0.2)}, whole[1])
    with pytest.raises(lq.Refusal, match="belongs to a search with another recipe"):
        lq.search(short.replace({"loss.name": "ball_shift"}), SPACE, whole[1])


def test_the_command_is_the_same_function(short, whole, tmp_path, capsys):
    path = tmp_path / "recipe.py"
    path.write_text(f"from lifeq_jax.core.config import *\nrecipe = {short!r}\n")
    words = [
        "sweep",
        str(path),
        "--run",
        str(tmp_path / "search"),
        "--search",
        "2",
        "--space",
        "loss.name=cross_entropy",
    ]
    words += ["--space", "stages.0.learning-rate=0.001:1", "--space", "model.args.hidden=4:8:linear"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "chosen: --" in said and said.count("| finished |") == 2 and (tmp_path / "search/chosen.json").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--search", "2"], "a sweep takes --grid, or --search N and --space"),
        (["--search", "2", "--space", "stages.0.learning-rate=1:b"], "has no range; write KEY=LOW:HIGH"),
        (["--search", "2", "--space", "stages.0.epochs=1:2", "--on", "test"], "--on test chooses nothing"),
        ([], "a sweep takes --grid, or --search N and --space"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(words, text, capsys):
    assert main(["sweep", "lifequant/resnet20_digits", *words]) == 2
    assert text in capsys.readouterr().err
