"""Whole runs on games: what they leave, exact resume after a kill, several seeds, games on the host."""

import csv
import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games, load_any, read_any
from lifeq_jax.core.refusal import Diverged, Refusal
from lifeq_jax.rl import GAMES, make_game
from lifeq_jax.rl import abreast as rl_abreast
from lifeq_jax.rl.look import read_agent
from lifeq_jax.rl.run import run_games, run_games_seeds
from lifeq_jax.rl.tasks import Progress
from lifeq_jax.train import drive
from lifeq_jax.train.abreast import stack
from tests.rl.toy import on_host
from tests.train.jobs import stopping
from tests.train.killed_runs import checkpointed, metrics, train_killed

RECIPE = GameRecipe(
    name="catching",
    games=Games(
        names=("catch/catch", "catch/dodge"),
        image=(5, 3, 1),
        updates=2,
        num_envs=4,
        rollout_steps=8,
        passes=2,
        minibatches=2,
        gamma=0.9,
        episodes=3,
        max_steps=100,
    ),
    model=Part("minatar", {"features": 2, "hidden": 4}),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=2, learning_rate=5e-3),),
    method=Part("blip", {"prior": 1e-10, "head": False, "zero_bits": "keep"}),
)
ALE = all(importlib.util.find_spec(name) for name in ("ale_py", "gymnasium"))


def quiet(line):
    """No log."""


def rows_of(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, summary) of an unbroken run."""
    folder = tmp_path_factory.mktemp("games") / "unbroken"
    return folder, run_games(RECIPE, folder, quiet)


def same(folder, other):
    """Whether two runs left the same checkpoints, to the bit, and the same numbers."""
    left, right = (checkpointed(each, "float", Progress) for each in (folder, other))
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    assert metrics(folder) == metrics(other)
    for name in ("scores.csv", "layers.csv", "return_matrix.csv"):
        assert (folder / name).read_text() == (other / name).read_text()


def test_what_a_run_leaves(finished):
    folder, summary = finished
    assert summary["games"] == ["catch/catch", "catch/dodge"]
    matrix = np.loadtxt(folder / "return_matrix.csv", delimiter=",", skiprows=1)
    assert matrix.shape == (2, 2)
    assert summary["metrics"]["return of catch/catch"] == matrix[1, 0]
    assert summary["metrics"].keys() >= {"capacity", "dead_units"}
    assert summary["stages"]["float"] == matrix[1].tolist()
    table = rows_of(folder, "metrics.csv")
    assert [(row["task"], row["epoch"], row["step"]) for row in table] == [
        ("0", "1", "8"), ("0", "2", "16"), ("1", "1", "8"), ("1", "2", "16"),
    ]  # fmt: skip
    assert [row["env_steps"] for row in table] == ["64", "128", "64", "128"]
    assert all(0.8 < float(row["entropy"]) < 1.1 for row in table)  # of three actions: log 3 at most
    assert {row["layer"] for row in rows_of(folder, "layers.csv")} >= {"stem/conv/kernel", "dense/dense/kernel"}


def test_scores_of_all_games_after_each_and_of_chance(finished):
    folder, summary = finished
    table = rows_of(folder, "scores.csv")
    names = ["catch/catch", "catch/dodge"]
    assert [(row["after"], row["game"]) for row in table] == [
        (after, g) for after in ("random", "0", "1") for g in names
    ]
    assert [float(row["return"]) for row in table[:2]] == [mean for mean, _ in summary["random"]]
    matrix = np.loadtxt(folder / "return_matrix.csv", delimiter=",", skiprows=1)
    assert [float(row["return"]) for row in table[2:]] == matrix.ravel().tolist()
    assert all(row["episodes"] == row["finished"] == "3" for row in table)  # a life lasts 4 steps, time is up after 80
    last = rows_of(folder, "metrics.csv")[-1]
    assert [float(last[f"return_{game}"]) for game in range(2)] == matrix[1].tolist()


def test_a_finished_run_returns_at_once(finished):
    folder, summary = finished
    lines = []
    assert run_games(RECIPE, folder, lines.append) == summary
    assert lines == [f"{folder} is finished already; nothing to do"]


def test_the_configuration_reads_back(finished):
    folder, _ = finished
    recipe = read_any(folder / "config.json")
    assert recipe.games == RECIPE.games
    assert recipe.method.args["prior"] == 1e-10
    other = dataclasses.replace(RECIPE, games=dataclasses.replace(RECIPE.games, gamma=0.5))
    with pytest.raises(Refusal, match="belongs to a recipe with games.gamma=0.9, this one has 0.5"):
        run_games(other, folder, quiet)


@pytest.mark.exact
def test_a_killed_run_resumes_to_the_same_bits(finished, tmp_path):
    folder = tmp_path / "killed"
    assert train_killed(RECIPE, folder, "save", "4") == -9
    assert not (folder / "summary.json").exists()
    run_games(RECIPE, folder, quiet)
    same(folder, finished[0])


@pytest.mark.exact
def test_a_damaged_checkpoint_is_named_and_the_older_one_used(finished, tmp_path):
    folder, said = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        run_games(RECIPE, folder, quiet, stopping("checkpoint", 3))
    shutil.rmtree(folder / "checkpoints" / "float" / "3" / "network")
    damaged, stands = read_agent(folder, 0).notes
    assert "checkpoints/float/3 cannot be read: " in damaged and damaged.endswith("; the older 2 is used")
    assert stands == "the stage is not finished; this is after 1 task"
    run_games(RECIPE, folder, said.append)
    assert said[0] == damaged
    same(folder, finished[0])


@pytest.mark.exact
def test_seeds_are_runs_of_their_own(finished, tmp_path):
    content = run_games_seeds(RECIPE, (0, 1), tmp_path, quiet)
    assert content["seeds"] == [0, 1]
    assert content["metrics"]["return of catch/dodge"]["std"] >= 0
    same(tmp_path / "seed0", finished[0])
    arrays = [checkpointed(tmp_path / f"seed{seed}", "float", Progress) for seed in (0, 1)]
    differ = [each["network/params/dense/dense/kernel"] for each in arrays]
    assert not np.array_equal(*differ)


def test_seeds_abreast_learn_what_each_learns_alone(finished, tmp_path, monkeypatch):
    """Up to the rounding of another program, which moves no action here; games on the host take turns."""
    stacked = []
    monkeypatch.setattr(drive, "vmap_is_faster", lambda: True)
    monkeypatch.setattr(rl_abreast, "stack", lambda trees: stacked.append(len(trees)) or stack(trees))
    run_games_seeds(RECIPE, (0, 1), tmp_path / "abreast", quiet)
    # state, lesson and key of each of four epochs; parameters and two games' keys of five evaluations, one of chance
    assert stacked == [2] * (4 * 3 + 5 * 3)
    run_games(dataclasses.replace(RECIPE, seed=1), tmp_path / "alone", quiet)
    for own, other in (("seed0", finished[0]), ("seed1", tmp_path / "alone")):
        left, right = (checkpointed(each, "float", Progress) for each in (tmp_path / "abreast" / own, other))
        for name in (name for name in left if "/params/" in name):
            np.testing.assert_allclose(left[name], right[name], rtol=1e-3, atol=1e-5, err_msg=name)
        assert rows_of(tmp_path / "abreast" / own, "scores.csv") == rows_of(other, "scores.csv")
    monkeypatch.setitem(GAMES, "hosted", lambda name, shape: on_host(make_game("catch/catch", shape)))
    games = dataclasses.replace(RECIPE.games, names=("hosted/catch", "catch/dodge"))
    both = dataclasses.replace(RECIPE, games=games)
    run_games_seeds(both, (0, 1), tmp_path / "both", quiet)
    run_games(both, tmp_path / "host", quiet)
    assert rows_of(tmp_path / "both/seed0", "scores.csv") == rows_of(tmp_path / "host", "scores.csv")


class Interrupted(Exception):
    """Ends a run from its watch, as a signal would."""


def interrupted_at(number):
    epochs = []

    def watch(moment):
        epochs.extend([None] * (moment.kind == "epoch"))
        if len(epochs) == number:
            raise Interrupted

    return watch


def resumed_on_host(recipe, folder):
    """A whole run, and one that is interrupted in the middle of its games and goes on."""
    run_games(recipe, folder / "whole", quiet)
    with pytest.raises(Interrupted):
        run_games(recipe, folder / "broken", quiet, interrupted_at(2))
    run_games(recipe, folder / "broken", quiet)
    same(folder / "whole", folder / "broken")


def test_games_on_the_host_are_learned_too_and_resume(monkeypatch, tmp_path):
    """The same games, played by another program; the agent learns in calls of single minibatches."""
    opened, closed = [], []

    def hosted(name, shape):
        game = on_host(make_game(f"catch/{name}", shape))

        def counting(num_envs):
            envs = game.open(num_envs)
            opened.append(num_envs)
            return envs._replace(close=lambda: closed.append(num_envs))

        return game._replace(open=counting)

    monkeypatch.setitem(GAMES, "hosted", hosted)
    games = dataclasses.replace(RECIPE.games, names=("hosted/catch", "hosted/dodge"))
    resumed_on_host(dataclasses.replace(RECIPE, games=games), tmp_path)
    assert opened == closed
    assert set(opened) == {2, 3}  # halves of four, and an evaluation's three
    row = rows_of(tmp_path / "whole", "metrics.csv")[-1]
    times = [float(row[name]) for name in ("acting_seconds", "waiting_seconds", "learning_seconds")]
    assert min(times) >= 0 and sum(times) > 0  # a wait may be shorter than what is written


def longer(epochs, **fields):
    stage = dataclasses.replace(RECIPE.stages[0], epochs=epochs)
    return dataclasses.replace(RECIPE, stages=(stage,), method=Part("ewc"), **fields)


def test_a_stopped_run_of_raised_epochs_becomes_the_longer_one(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_games(longer(1), tmp_path / "run", quiet, stopping("epoch", 1))
    run_games(longer(3), tmp_path / "run", quiet)
    run_games(longer(3), tmp_path / "long", quiet)
    same(tmp_path / "run", tmp_path / "long")


def test_a_finished_run_plays_its_last_game_on(tmp_path):
    short, said = run_games(longer(2), tmp_path / "run", quiet), []
    summary = run_games(longer(3), tmp_path / "run", said.append)
    assert said[0] == "stage float goes on: 3 epochs of task 2 instead of 2"
    table = rows_of(tmp_path / "run", "metrics.csv")
    assert [(row["task"], row["epoch"]) for row in table] == [*(("0", e) for e in "12"), *(("1", e) for e in "123")]
    # the schedule is that of three epochs, of which two are over
    assert float(table[-1]["learning_rate"]) == pytest.approx(RECIPE.stages[0].learning_rate / 3)
    assert [row["after"] for row in rows_of(tmp_path / "run", "scores.csv")] == ["random"] * 2 + ["0"] * 2 + ["1"] * 2
    assert len(summary["errors"]) == len(short["errors"]) == 2
    assert np.loadtxt(tmp_path / "run" / "return_matrix.csv", delimiter=",", skiprows=1).shape == (2, 2)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["stages"][0]["epochs"] == 3
    assert run_games(longer(3), tmp_path / "run", quiet) == summary


def test_blip_has_concluded_its_last_game(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    stage = dataclasses.replace(RECIPE.stages[0], epochs=3)
    with pytest.raises(Refusal, match="the stage is finished, and 'blip' has changed its network in the end"):
        run_games(dataclasses.replace(RECIPE, stages=(stage,)), tmp_path / "run", quiet)


@pytest.mark.skipif(not ALE, reason="needs ale-py and gymnasium (extra rl)")
def test_boxing_resumes_to_the_same_bits(tmp_path):
    games = Games(
        names=("atari/boxing",), image=(42, 42, 4), updates=4, num_envs=4, rollout_steps=16, passes=1, minibatches=2,
        episodes=2, max_steps=20,
    )  # fmt: skip
    model = Part("atari", {"mul": 1 / 16, "convolutions": 2, "hidden": 8})
    stage = Stage("float", weight_bits=32, act_bits=32, epochs=3, learning_rate=1e-3)
    resumed_on_host(GameRecipe("boxing", games, model, (stage,), evaluate_every=0), tmp_path)
    scores = rows_of(tmp_path / "whole", "scores.csv")
    assert {row["finished"] for row in scores} == {"0"}  # of a game of 1,785 steps only 20 were played
    assert {row["steps"] for row in scores} == {"20.0"}


@pytest.mark.parametrize("bits", [(4, 8)])
def test_low_bits_in_two_stages(tmp_path, bits):
    stages = (
        Stage("float", 32, 32, epochs=1, learning_rate=1e-3, tasks=1),
        Stage("low", *bits, epochs=1, learning_rate=1e-3),
    )
    recipe = dataclasses.replace(
        RECIPE,
        stages=stages,
        weight_quantizer=Part("lsq"),
        act_quantizer=Part("lsq"),
        quant_setup="LSQ",
        method=Part("finetune"),
    )
    summary = run_games(recipe, tmp_path / "run", quiet)
    assert summary["bits"] == [4, 8]
    assert {name: len(returns) for name, returns in summary["stages"].items()} == {"float": 2, "low": 2}
    leaves = checkpointed(tmp_path / "run", "low", Progress)
    scales = {name: leaf for name, leaf in leaves.items() if name.startswith("network/") and "quantizer/scale" in name}
    assert scales
    assert all(leaf > 0 and leaf != 1 for leaf in scales.values())  # calibrated


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    stage = dataclasses.replace(RECIPE.stages[0], learning_rate=1e6)
    optimizer = dataclasses.replace(RECIPE.optimizer, kind="sgd", max_norm=0.0)
    recipe = dataclasses.replace(RECIPE, stages=(stage,), optimizer=optimizer, method=Part("finetune"))
    with pytest.raises(Diverged, match=r"stage float: .* not finite .*; it has written no checkpoint yet"):
        run_games(recipe, tmp_path / "run", quiet)
    assert "not finite" in json.loads((tmp_path / "run" / "diverged.json").read_text())["reason"]


def replaced_games(**fields):
    return dataclasses.replace(RECIPE, games=dataclasses.replace(RECIPE.games, **fields))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replaced_games(names=()), "games.names=() is empty; name at least one game"),
        (
            lambda: replaced_games(names=("catch/catch", "catch/catch")),
            "games.names=('catch/catch', 'catch/catch') names a game twice",
        ),
        (lambda: replaced_games(minibatches=33), "games.minibatches=33 is more than a rollout has steps, 32"),
        (lambda: replaced_games(gamma=1.5), "games.gamma=1.5 is out of range; choose from 0 to 1"),
        (
            lambda: dataclasses.replace(RECIPE, stages=(dataclasses.replace(RECIPE.stages[0], tasks=3),)),
            "stage.tasks=3 of 'float' exceeds the 2 games",
        ),
        (
            lambda: dataclasses.replace(RECIPE, model=Part("resnet20")),
            "recipe.model.name='resnet20' plays no games; choose from atari, minatar",
        ),
        (
            lambda: dataclasses.replace(RECIPE, method=Part("blip", {"priors": 1.0})),
            "recipe.method.args.priors=1.0 is no argument of 'blip'",
        ),
    ],
)
def test_refusals(tmp_path, make, says):
    with pytest.raises(Refusal) as refused:
        run_games(make(), tmp_path / "run", quiet)
    assert str(refused.value).startswith(says)
    assert not (tmp_path / "run").exists()


def test_a_seed_named_twice_is_refused(tmp_path):
    with pytest.raises(Refusal, match="--seeds 1,1 names a seed twice"):
        run_games_seeds(RECIPE, (1, 1), tmp_path, quiet)


def test_recipe_files_of_both_kinds(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text("from tests.rl.test_run import RECIPE as recipe\n")
    assert load_any(path) == RECIPE
    path.write_text("recipe = 3\n")
    with pytest.raises(Refusal) as refused:
        load_any(path)
    assert str(refused.value) == (f"recipe {path} does not define `recipe = Recipe(...)` or `recipe = GameRecipe(...)`")
