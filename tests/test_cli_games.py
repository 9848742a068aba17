"""The command line for runs on games, from training to the film, in one process."""

import pytest

from lifeq_jax.cli import main
from tests.rl.test_run import RECIPE

WORDS = ["--games.updates", "1", "--stages.0.epochs", "1", "--games.num-envs", "2", "--keep", "task"]
WORDS += ["--method.name", "finetune"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.py"
    path.write_text("from tests.rl.test_run import RECIPE as recipe\n")
    return str(path)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", recipe, *WORDS, "--run", str(folder)]) == 0
    return folder


def test_train_says_the_returns(run, recipe, capsys):
    assert main(["train", recipe, *WORDS, "--run", str(run)]) == 0  # finished: shown again
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("mean returns"))
    assert lines[start + 1].split() == list(RECIPE.games.names)
    assert [line.split()[0] for line in lines[start + 2 : start + 5]] == ["random", "after", "after"]
    assert all(line.count("±") == 2 for line in lines[start + 2 : start + 5])


def test_eval_and_render(run, tmp_path, capsys):
    assert main(["eval", str(run), "--task", "1", "--episodes", "4", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "stage float (weights 32 bits, activations 32), catch/dodge, 4 games" in said
    assert "4 games ended" in said
    film = tmp_path / "agent.gif"
    assert main(["render", str(run), "--task", "0", "--out", str(film), "--steps", "9"]) == 0
    assert f"film of catch/catch, 9 steps: {film}" in capsys.readouterr().out
    last = film.read_bytes()
    assert last.startswith(b"GIF")
    after = ["render", str(run), "--task", "0", "--out", str(film), "--steps", "9", "--after-task"]
    assert main([*after, "1"]) == 0 and film.read_bytes() == last
    assert main([*after, "5"]) == 2 and "has no network after task 5" in capsys.readouterr().err


def test_report(run, tmp_path, capsys):
    assert main(["report", str(run), "--out", str(tmp_path)]) == 0
    assert f"report: {tmp_path / 'report.md'}" in capsys.readouterr().out
    assert "catch/dodge" in (tmp_path / "report.md").read_text()


def test_keys_and_layers(recipe, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", recipe, "--keys"])
    assert left.value.code == 0
    assert "--games.rollout-steps" in capsys.readouterr().out
    assert main(["train", recipe, "--layers"]) == 0
    assert "classifier/dense" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eval", "RUN"], "--task is missing: the game, from 0 in the recipe's order"),
        (["eval", "RUN", "--task", "0", "--csv", "x.csv"], "--csv is of images, and the tasks of RUN are games"),
        (["eval", "RUN", "--task", "0", "--episodes", "1"], "--episodes 1 is too few; choose 2 or more"),
        (["render", "RUN", "--task", "5"], "--task 5 is not a game of the run; choose from 0 to 1"),
        (["train", "RECIPE", "--games.names", "catch/run"], "games.names: catch/='run' is unknown"),
        (["train", "RECIPE", "--games.gammas", "1"], "recipe.games.gammas is an unknown key"),
    ],
)
def test_refusals(run, recipe, capsys, words, says):
    given = [{"RUN": str(run), "RECIPE": recipe}.get(word, word) for word in words]
    assert main(given) == 2
    assert says.replace("RUN", str(run)) in capsys.readouterr().err
