"""Reports of runs on games, from run folders made by hand."""

import dataclasses
import json

import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage, to_json
from lifeq_jax.core.game_recipe import GameRecipe, Games
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.game_plots import LearningCurve, draw_curves, draw_returns
from lifeq_jax.report.games import group_games, write_games_report
from lifeq_jax.runs.columns import METRICS, game_columns
from lifeq_jax.runs.folder import RETURN_MATRIX, write_summary
from lifeq_jax.runs.games import read_game_run, read_game_runs
from lifeq_jax.runs.write import RunFiles, layer_rows

NAMES = ("catch/catch", "catch/dodge")
CHANCE = {"catch/catch": -2.0, "catch/dodge": 1.0}


def recipe_of(names=NAMES, method="finetune", name="two", seed=0):
    games = Games(names, (5, 3, 1), updates=2, num_envs=4, rollout_steps=8)
    stage = Stage("float", weight_bits=32, act_bits=32, epochs=2, learning_rate=1e-3)
    return GameRecipe(name, games, Part("minatar"), (stage,), method=Part(method), seed=seed)


def run_folder(folder, recipe, matrix, curves, capacity=None):
    """A finished run with the given returns, and of training per game (epochs,)."""
    names, folder = recipe.games.names, folder / f"seed{recipe.seed}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(recipe))
    files = RunFiles(folder, game_columns(len(names)))
    files.begin({})
    for task, returns in enumerate(curves):
        for epoch, value in enumerate(returns):
            row = dict(stage="float", task=task, epoch=epoch + 1, step=1, env_steps=64 * (epoch + 1))
            row |= {"return": value, "steps_per_second": 500.0 + recipe.seed}
            row |= dict(acting_seconds=0.25, waiting_seconds=0.5, learning_seconds=0.25)
            files.append(METRICS, row)
        if capacity is not None:
            measured = {"bits": 20 * capacity, "capacity": capacity, "values": 8.0, "units": 4.0, "dead_units": 1.0}
            files.append("layers.csv", *layer_rows("float", task, {"stem/conv/kernel": measured}))
    files.close()
    summary = {
        "finished": True,
        "name": recipe.name,
        "seed": recipe.seed,
        "games": list(names),
        "random": [[CHANCE[name], 0.1] for name in names],
        "errors": np.full((len(names),) * 2, 0.2).tolist(),
        "metrics": {},
        "stages": {},
        "seconds": 10.0,
        "method_seconds": 1.0,
        "commit": "abc",
        "machine": "test",
    }
    write_summary(folder, summary, np.array(matrix, float), RETURN_MATRIX)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Two recipes of two games with two seeds each, and each game learned alone with two seeds."""
    for seed in (0, 1):
        ends = [[8.0 + seed, 1.0], [3.0 + seed, 5.0]]
        run_folder(tmp_path / "finetune", recipe_of(seed=seed), ends, [[0.0, 6.0], [1.0, 3.0]])
        kept = [[8.0 + seed, 1.0], [8.0 + seed, 4.0]]
        run_folder(tmp_path / "blip", recipe_of(method="blip", seed=seed), kept, [[0.0, 6.0], [1.0, 2.0]], 0.25)
        for name, end in zip(NAMES, (8.0, 5.0), strict=True):
            alone = recipe_of((name,), name=f"alone_{name[6:]}", seed=seed)
            run_folder(tmp_path / name[6:], alone, [[end + 0.2 * seed - 0.1]], [[0.0, end]])
    return [tmp_path / name for name in ("finetune", "blip", "catch", "dodge")]


def report_of(folders, out):
    runs, others = read_game_runs(folders)
    return write_games_report(runs, out, others).read_text()


def table_after(text, words):
    """The cells of the first table after some words, row by row."""
    lines = text[text.index(words) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[:1] + rows[2:]


def test_normalized_by_the_games_learned_alone(folders, tmp_path):
    text = report_of(folders, tmp_path / "report")
    header, *rows = table_after(text, "## At the end")
    assert header[-3:] == ["average", "forgetting", "backward transfer"]
    assert [row[1:3] for row in rows] == [["finetune", "2"], ["blip", "2"]]
    # alone 8 and 5, chance -2 and 1: N of seed 0 at the end is (0.5, 1) under fine-tuning, (1, 0.75) under BLIP
    assert rows[0][3:] == ["3.50 ± 0.71, 5.00 ± 0.00", "0.78 ± 0.04", "0.50 ± 0.00", "-0.50 ± 0.00"]
    assert rows[1][3:] == ["8.50 ± 0.71, 4.00 ± 0.00", "0.90 ± 0.04", "0.00 ± 0.00", "0.00 ± 0.00"]
    known = table_after(text, "## Games learned alone")
    assert known[1] == ["catch/catch", "8.00 ± 0.10", "-2.00 ± 0.07", "yes", "2"]


def test_lost_returns_and_their_standard_error(folders, tmp_path):
    for seed, end in ((0, 2.0), (1, 5.0)):  # lost 6 and 4
        ends = [[8.0 + seed, 1.0], [end, 5.0]]
        run_folder(tmp_path / "other", recipe_of(name="other", seed=seed), ends, [[0.0], [1.0]])
    text = report_of([tmp_path / "other"], tmp_path / "report")
    assert table_after(text, "Lost return") == [
        ["game", "lost", "se", "lost / se"],
        ["catch/catch", "5.00 ± 1.41", "1.00", "5.0"],
    ]
    assert "No game was learned alone" in text


def test_forward_transfer_and_layers(folders, tmp_path):
    text = report_of(folders, tmp_path / "report")
    section = next(part for part in text.split("\n## ") if part.startswith("two (method=blip"))
    row = next(line for line in section.splitlines() if line.startswith("| forward transfer"))
    # dodge: normalized curve (0, 0.25), alone (-0.25, 1): (0.125 - 0.375) / (1 - 0.375)
    assert [cell.strip() for cell in row.strip("|").split("|")][2] == "-0.40 ± 0.00"
    assert table_after(section, "Capacity used")[1] == ["catch/catch", "25.00 ± 0.00", "25.00 ± 0.00"]


def test_a_game_without_a_scale_is_not_normalized(folders, tmp_path):
    for seed, end in ((0, -3.0), (1, 3.0)):
        path = tmp_path / "catch" / f"seed{seed}" / RETURN_MATRIX
        path.write_text(f"task_0\n{end}\n")
    text = report_of(folders, tmp_path / "report")
    assert table_after(text, "## Games learned alone")[1][3] == "no: two standard errors are not between them"
    assert table_after(text, "## At the end")[1][-3:] == ["", "", ""]
    assert "| forward transfer" not in text


def test_one_seed_has_the_standard_errors_of_its_games(folders, tmp_path):
    text = report_of([folders[0] / "seed1"], tmp_path / "report")
    rows = table_after(text, "Mean returns in each game, ± standard error over the games of an evaluation")[1:]
    assert rows == [
        ["chance", "-2.00 ± 0.10", "1.00 ± 0.10"],
        ["after game 1", "9.00 ± 0.20", "(1.00 ± 0.20)"],
        ["after game 2", "4.00 ± 0.20", "5.00 ± 0.20"],
    ]
    assert "standard error over the games" not in report_of(folders, tmp_path / "report")


def test_speed_of_acting_game_and_learning(folders, tmp_path):
    text = report_of(folders, tmp_path / "report")
    # an epoch has 2 * 4 * 8 steps of play and takes a second
    said = "acting 25% (256), waiting for the game 50% (128), learning 25% (256)"
    assert f"time (steps of play per second of it): {said}" in text


def test_curves_show_chance_and_the_game_learned_alone():
    curve = LearningCurve("catch/catch", np.array([64, 128]), np.array([[1.0, np.nan]]), np.array([2.0, 3.0]), -2.0)
    (axes,) = draw_curves([curve]).axes
    own, alone, chance = axes.get_lines()
    assert own.get_xydata().tolist() == [[64, 1]]
    assert own.get_marker() == "."  # one epoch is a point
    assert alone.get_ydata().tolist() == [2.0, 3.0]
    assert list(chance.get_ydata()) == [-2.0, -2.0]


def test_six_games_are_two_rows_with_a_label_each():
    names = [f"atari/{number}" for number in range(6)]
    curve = LearningCurve("", np.array([1_000_000]), np.array([[1.0]]), None, 0.0)
    curves = draw_curves([curve._replace(name=name) for name in names])
    returns = draw_returns(names, np.outer(np.arange(7), [1.0, 2000.0, 3.0, 4.0, 5.0, 6.0]))
    for figure, word in ((curves, "return of training games"), (returns, "return")):
        assert [axes.get_ylabel() for axes in figure.axes] == [word, "", "", word, "", ""]
        assert [axes.get_title() for axes in figure.axes] == names
    assert curves.axes[0].xaxis.get_major_formatter()(1_000_000) == "1M"
    assert [[text.get_text() for text in axes.texts][-1] for axes in returns.axes[:2]] == ["6.0", "12000"]


def test_groups_are_told_apart_by_their_games(folders):
    runs, _ = read_game_runs(folders)
    renamed = [run._replace(recipe=dataclasses.replace(run.recipe, name="one")) for run in runs]
    assert [group.label for group in group_games(renamed)] == [
        "one (games.names=catch/catch + catch/dodge, method=finetune)",
        "one (method=blip, games.names=catch/catch + catch/dodge)",
        "one (games.names=catch/catch, method=finetune)",
        "one (games.names=catch/dodge, method=finetune)",
    ]


def test_plots_are_written_and_shown(folders, tmp_path):
    text = report_of(folders, tmp_path / "report")
    shown = [line.split("(")[-1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(shown) == len(set(shown)) == 8
    assert all((tmp_path / "report" / name).stat().st_size > 1000 for name in shown)


def test_unfinished_runs_are_listed(folders, tmp_path):
    (tmp_path / "blip" / "seed1" / "summary.json").unlink()
    text = report_of(folders, tmp_path / "report")
    assert f"- `{tmp_path / 'blip' / 'seed1'}`: unfinished" in text


def test_a_seed_given_twice_is_refused(folders):
    run = read_game_run(folders[0] / "seed0")
    with pytest.raises(Refusal, match="are runs of one recipe with seed=0; give one of them"):
        group_games([run, run])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (RETURN_MATRIX, "task_0,task_1\n1.0,2.0\n", "has 1 rows; the run has 2 games"),
        (RETURN_MATRIX, "task_0,task_1\n1.0,2.0\n1.0,x\n", "row 2: task_1='x' is not a finite number"),
        (METRICS, "stage\nfloat\n", "the heading of column 2 is ''; it must be 'task'"),
    ],
)
def test_damaged_files_are_refused(folders, name, text, says):
    (folders[0] / "seed0" / name).write_text(text)
    with pytest.raises(Refusal) as refused:
        read_game_run(folders[0] / "seed0")
    assert says in str(refused.value)
    assert str(folders[0] / "seed0" / name) in str(refused.value)


def test_a_damaged_summary_is_refused(folders):
    path = folders[0] / "seed0" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"random": [[1.0], [2.0]]}))
    with pytest.raises(Refusal, match="random is not 2 lists of 2 numbers"):
        read_game_run(folders[0] / "seed0")
