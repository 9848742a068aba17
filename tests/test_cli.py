"""The command line: the quickstart's commands, one-line refusals with exit code 2, help."""

import json
import re
from importlib import metadata

import numpy as np
import pytest

from lifeq_jax.cli import main
from lifeq_jax.cli_doctor import missing
from lifeq_jax.cli_keys import override
from lifeq_jax.cli_parser import Parser, add_recipe
from lifeq_jax.core.config import Data, Optimizer, Stage
from lifeq_jax.core.game_recipe import Games
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.data.sequences import SEQUENCES
from lifeq_jax.runs.folder import open_run_folder, write_summary

RECIPE = "lifequant/resnet20_digits"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Digits as images and CSV tasks, made by the commands of the README."""
    folder = tmp_path_factory.mktemp("cli")
    root, csv = str(folder / "images"), str(folder / "digits")
    assert main(["data", "prepare", "--root", root]) == 0
    assert main(["data", "lifelong", "--root", root, "--csv", csv, "--tasks", "3", "--diminish-rate", "25"]) == 0
    assert main(["data", "replay", "--csv", csv, "--tasks", "3", "--rate", "20"]) == 0
    assert main(["data", "count", "--csv", csv, "--tasks", "3"]) == 0
    return folder


def train(tasks, *words: str) -> list[str]:
    where = ["--data.root", str(tasks / "images"), "--data.csv", str(tasks / "digits")]
    small = ["--model.name", "resnet8", "--model.args.width", "2"]
    short = ["--stages.0.epochs", "1", "--stages.1.epochs", "1", "--stages.2.epochs", "1"]
    return ["train", RECIPE, *where, *small, *short, "--run", str(tasks / "run"), *words]


def test_train_eval_report(tasks, capsys):
    assert main(train(tasks)) == 0
    said = capsys.readouterr().out
    assert "w4a4  task 3/3  epoch 1/1  loss " in said
    assert re.search(r"average accuracy \d+\.\d\d %   forgetting \d+\.\d\d %", said)
    assert main(train(tasks)) == 0
    assert "is finished already; nothing to do" in capsys.readouterr().out
    assert main(["eval", str(tasks / "run"), "--csv", str(tasks / "digits_test1.csv")]) == 0
    said = capsys.readouterr().out
    assert "stage w4a4 (weights 4 bits, activations 4), 216 images" in said
    assert re.search(r"^  many +\d+\.\d\d %  classes with more than 100 training images$", said, re.MULTILINE)
    assert re.search(r"^  few +-   +classes with fewer than 20 training images$", said, re.MULTILINE)
    words = ["eval", str(tasks / "run"), "--csv", str(tasks / "digits_test1.csv"), "--many", "200", "--few", "200"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"^  few +\d+\.\d\d %  classes with fewer than 200 training images$", said, re.MULTILINE)
    assert main(["report", str(tasks / "run"), "--many", "142", "--few", "142"]) == 0
    report = (tasks / "run" / "report" / "report.md").read_text()
    assert "- few:" not in report and "(classes.png)" not in report  # 146 and 139 images are no long tail
    assert "(confusion.png)" in report and (tasks / "run" / "report" / "report.html").exists()
    config = json.loads((tasks / "run" / "config.json").read_text())
    assert config["model"] == {"name": "resnet8", "args": {"width": 2}}
    assert config["weight_quantizer"] == {"name": "proxq", "args": {"range_": 2.0, "levels": "exact"}}


def test_inspect_prints_the_tasks(tasks, capsys):
    assert main(["data", "inspect", "--csv", str(tasks / "digits"), "--root", str(tasks / "images")]) == 0
    assert "classes shared by two tasks" in capsys.readouterr().out


def test_long_tails_of_folders_of_a_csv_and_of_tasks(tasks, capsys):
    root, tail = str(tasks / "images"), str(tasks / "tail" / "digits")
    assert main(["data", "longtail", "--root", root, "--csv", tail, "--gamma", "10"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.search(r"digits_train10\.csv: \d+ images of 10 classes, 146 to 14 a class, imbalance 10\.4$", said[0])
    assert said[1].endswith("digits_test.csv: 359 images")
    words = ["--from", f"{tail}_train10.csv", "--csv", tail, "--gamma", "146", "--scheme", "truncated", "--seed", "3"]
    assert main(["data", "longtail", *words]) == 0
    assert "imbalance 146.0, " in capsys.readouterr().out
    assert main(["data", "inspect", "--csv", f"{tail}_train146.csv", "--root", root]) == 0
    assert re.search(r"^task 0: 146 .* 1 0( 0)*$", capsys.readouterr().out, re.MULTILINE)
    words = ["--from", str(tasks / "digits"), "--csv", f"{tail}_lt20", "--gamma", "20", "--tasks", "3"]
    assert main(["data", "longtail", *words]) == 0
    assert main(["data", "replay", "--csv", f"{tail}_lt20", "--tasks", "3"]) == 0
    assert main(["data", "count", "--csv", f"{tail}_lt20", "--tasks", "3"]) == 0
    capsys.readouterr()
    assert main(["data", "inspect", "--csv", f"{tail}_lt20", "--root", root]) == 0
    assert len(re.findall(r"^task \d: \d\d\d .* \d$", capsys.readouterr().out, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "none.py"], "recipe none.py does not exist; `lifeq-jax recipes` lists the package's own"),
        (
            ["train", RECIPE, "--optimizer.lr", "1"],
            "recipe.optimizer.lr is an unknown key; choose from epsilon",
        ),
        (["train", RECIPE, "--seed", "x"], "--seed x is not of type int; write --seed 0"),
        (["train", RECIPE, "--stages.0.weight-bits", "9"], "stage.weight_bits=9 is not a bit-width"),
        (["train", RECIPE, "--method.name", "gem"], "recipe.method.name='gem' is unknown; choose from agem"),
        (
            ["train", RECIPE, "--method.name=ewc", "--method.args.prox", "1"],
            "recipe.method.args.prox=1 is no argument of 'ewc'",
        ),
        (["data", "lifelong", "--csv", "x", "--tasks", "2", "--root", "x"], "give either --diminish-rate or --domains"),
        (["data", "replay", "--csv", "none", "--tasks", "2"], "none_train0.csv"),
        (["eval", "none", "--csv", "x.csv"], "none/config.json does not exist; is none a run folder?"),
        (["eval", "none", "--csv", "x.csv", "--few", "101"], "many=100 and few=101 do not bound groups of classes"),
        (["eval", "none", "--csv", "x.csv", "--many", "x"], "argument --many: invalid int value: 'x'"),
        (["report", "none"], "none/config.json does not exist"),
        (["data", "longtail", "--csv", "x"], "the following arguments are required: --gamma"),
        (["data", "longtail", "--csv", "x", "--gamma", "ten"], "argument --gamma: invalid float value: 'ten'"),
        (["data", "longtail", "--csv", "x", "--gamma", "10"], "give either --root or --from"),
        (["data", "longtail", "--csv", "x", "--gamma", "10", "--root", "a", "--from", "b"], "give either --root or"),
        (["data", "longtail", "--csv", "x", "--gamma", "10", "--root", "a", "--tasks", "2"], "--tasks needs --from"),
        (["data", "longtail", "--csv", "x", "--gamma", "9", "--from", "y", "--tasks", "2"], "y_train0.csv cannot be"),
        (["data", "longtail", "--csv", "x", "--gamma", "9", "--from", "y"], "y is not named <name>_train<ending>.csv"),
        (
            ["data", "sequence", "mnist", "--csv", "x", "--root", "x"],
            "sequence='mnist' is unknown; choose from cifar10_",
        ),
        (
            ["data", "sequence", "mnist5", "--csv", "x", "--root", "x", "--tasks", "2"],
            "tasks=2 does not apply to mnist5",
        ),
        (["data", "sequence", "mnist5", "--csv", "x"], "the following arguments are required: --root"),
        (["data", "inspect", "--csv", "x", "--color"], "unrecognized arguments: --color"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_refusals_are_one_line_and_exit_with_2(words, text, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert text in err and err.startswith("lifeq-jax: ") and err.count("\n") == 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["data", "--help"],
        ["data", "prepare", "--help"],
        ["data", "longtail", "--help"],
        ["train", "--help"],
    ],
)
def test_help_exits_with_0(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "usage: lifeq-jax" in capsys.readouterr().out


def test_keys_lists_every_key(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", RECIPE, "--keys"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for key in ("--data.batch-size", "--stages.2.learning-rate", "--method.args.strength", "--selection"):
        assert key in said


def test_recipes_are_listed_with_a_line_each_and_their_file(capsys):
    assert main(["recipes", "mnist"]) == 0
    said = capsys.readouterr().out.splitlines()
    first = next(place for place, line in enumerate(said) if line.endswith("lifeq_jax/recipes/blip/cifar.py"))
    assert "notMNIST" in said[first + 1]
    assert [line.split()[0] for line in said[first + 3 : first + 5]] == ["blip/mnist5_mlp", "blip/mnist2_mlp"]


def test_a_shell_completes_recipes_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lifequant.py", "lifequant.csv"):
        (tmp_path / name).touch()
    parser = Parser()
    add_recipe(parser)
    (complete,) = [action.completer for action in parser._actions if action.dest == "recipe"]
    assert complete("lifequant/resnet20_d") == ["lifequant/resnet20_digits"]
    assert len(complete("lifequant")) == 10 and complete("lifequant")[-1] == "lifequant.py"


def test_the_help_of_train_names_all_keys_and_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    keys = [name for kind in (Data, Games, Optimizer, Stage) for name in kind.__dataclass_fields__ if name != "LIMITS"]
    assert {key.replace("_", "-") for key in keys} <= {*re.findall(r"[\w-]+", said)}
    assert "  lifeq-jax train lifequant/resnet20_digits --seeds 0,1,2\n" in said


def test_doctor_names_versions_devices_folders_and_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "digits").mkdir(parents=True)
    main(["doctor"])
    said = capsys.readouterr().out
    assert f"jax {metadata.version('jax')}, " in said and "device      cpu" in said
    assert f"{tmp_path}/data (1 data sets; " in said and f"{tmp_path}/runs (not there yet; " in said
    wanted = {"lifeq_jax": ["numpy<1", "jax>=0.1", "no-such>=2; extra == 'x'", "lifeq_jax[x]; extra == 'y'"]}
    monkeypatch.setattr(metadata, "requires", wanted.get)
    assert [[*missing("lifeq_jax", extra)] for extra in ("", "x", "y")] == [["numpy<1"], ["no-such>=2"], ["no-such>=2"]]


def test_layers_lists_the_bits_of_every_layer(capsys):
    assert main(["train", RECIPE, "--layers", "--quant-setup", "LSQ_paper", "--weight-quantizer.name", "lsq"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["stem/conv"] == rows["classifier/dense"] == ["8"]
    assert rows["blocks_0/units_0/conv"] == rows["blocks_0/units_0/act"] == ["4"]


def test_sequence_writes_the_tasks_of_blip(tmp_path, capsys):
    for path in (f"{split}/{digit}/0.png" for split in ("train", "test") for digit in range(10)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    words = ["data", "sequence", "mnist2", "--root", str(tmp_path), "--csv", str(tmp_path / "csv" / "mnist2")]
    assert main(words) == 0
    assert "mnist2_train*.csv: 2 tasks with 5, 5 images\n" in capsys.readouterr().out
    assert (tmp_path / "csv" / "mnist2_test1.csv").read_text().splitlines()[1] == "test/5/0.png,5"


def test_help_names_every_sequence(capsys):
    with pytest.raises(SystemExit):
        main(["data", "sequence", "--help"])
    assert SEQUENCES.keys() <= set(re.findall(r"[a-z0-9_]+", capsys.readouterr().out))


def test_one_task_needs_no_diminish_rate_and_prints_no_forgetting(tasks, capsys):
    where = ["--root", str(tasks / "images"), "--csv", str(tasks / "one")]
    assert main(["data", "lifelong", *where, "--tasks", "1"]) == 0
    assert "1 tasks with 1438 images" in capsys.readouterr().out
    one = ["--data.csv", str(tasks / "one"), "--data.num-tasks", "1", "--data.no-replay", "--importance-data", "train"]
    words = train(tasks, *one, "--run", str(tasks / "one_run"), "--oscillation.name", "track")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"oscillating \d+\.\d\d %  frozen 0\.00 %", said)
    assert re.search(r"\naccuracy \d+\.\d\d %   balanced accuracy \d+\.\d\d %\n$", said) and "forgetting" not in said


SUMMARY = {"finished": True, "name": "digits", "seed": 0, "stages": {}, "seconds": 1, "commit": "c", "machine": "m"}


def test_a_finished_run_says_what_is_frozen(tmp_path, capsys):
    open_run_folder(tmp_path, override(load_recipe(RECIPE), []))
    metrics = {"average_accuracy": 0.75, "forgetting": 0.1, "balanced_accuracy": 0.74}
    frozen = metrics | {"capacity": 0.12345, "dead_units": 0.05}
    words, matrix = ["train", RECIPE, "--run", str(tmp_path)], np.full((3, 3), 0.8)
    write_summary(tmp_path, SUMMARY | {"metrics": metrics}, matrix)
    assert main(words) == 0
    assert "capacity" not in capsys.readouterr().out
    write_summary(tmp_path, SUMMARY | {"metrics": frozen}, matrix)
    assert main(words) == 0
    assert capsys.readouterr().out.endswith(" %\ncapacity used 12.35 %   dead units 5.00 %\n")


def test_toy_prints_the_series_and_draws_them(tmp_path, capsys):
    assert main(["toy", "--steps", "400", "--out", str(tmp_path / "plots" / "toy.png")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"ste     0\.10   0\.01: 0\.200, .*0\.1: 0\.200, ", said)
    assert (tmp_path / "plots" / "toy.png").read_bytes().startswith(b"\x89PNG")


def test_finished_seeds_are_told_with_their_spread(tmp_path, capsys):
    for seed, accuracy in enumerate((0.7, 0.8)):
        open_run_folder(tmp_path / f"seed{seed}", override(load_recipe(RECIPE), ["--seed", str(seed)]))
        summary = SUMMARY | {"seed": seed, "metrics": {"average_accuracy": accuracy}}
        write_summary(tmp_path / f"seed{seed}", summary, np.array([[accuracy]]))
    assert main(["train", RECIPE, "--run", str(tmp_path), "--seeds", "0,1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"seed 0  {tmp_path}/seed0 is finished already; nothing to do"
    assert lines[-2] == f"seeds 0, 1: mean ± sample standard deviation, %  {tmp_path}/seeds.json"
    assert lines[-1] == f"  average_accuracy      75.00 ± {100 * 0.1 / 2**0.5:.2f}"
