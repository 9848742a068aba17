"""Sweeps: every cell a row, whatever becomes of it; shared stages once, with the same bits; stopped ones go on."""

import csv
import shutil
from collections import Counter

import jax
import numpy as np
import pytest
from filelock import FileLock

import lifeq_jax as lq
from lifeq_jax.api.cells import make_cells, trunk
from lifeq_jax.api.sweep import Sweep
from lifeq_jax.cli import main
from lifeq_jax.core.config import digest, to_json
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.train.build import complete
from tests.rl.test_run import RECIPE as GAMES
from tests.test_front_door import blocks, executed
from tests.train.killed_runs import latest_weights

BITS = "stages.2.weight_bits"
GRID = {"method": ["finetune", ("ewc", {"strength": 1e30}), "lifequant"], BITS: [2, 4]}


def silent(line):
    pass


@pytest.fixture(scope="module")
def ablation(recipe, tmp_path_factory):
    """(sweep of twelve runs, of which EWC's diverge, stopped twice on the way; lines that it logged; its folder)."""
    folder, lines = tmp_path_factory.mktemp("sweep") / "ablation", []

    def stopping(count):
        def log(line):
            lines.append(line)
            if len(lines) == count:
                raise KeyboardInterrupt

        return log

    for count in (5, 9):  # in the low bits of the first cell, and of a later one
        with pytest.raises(KeyboardInterrupt):
            lq.sweep(recipe, GRID, folder, seeds=(0, 1), log=stopping(count))
    with jax.debug_nans(False):
        swept = lq.sweep(recipe, GRID, folder, seeds=(0, 1), log=lines.append)
    return swept, lines, folder


def test_every_cell_and_seed_is_a_row(ablation):
    rows = ablation[0].rows()
    assert [(row["method"], row[BITS], row["seed"]) for row in rows] == [
        (method, bits, seed)
        for method in ("finetune", "ewc(strength=1e+30)", "lifequant")
        for bits in (2, 4)
        for seed in (0, 1)
    ]
    for row in rows:
        if row["method"].startswith("ewc"):
            assert row["status"].startswith("diverged: stage w4a4: ") and "average_accuracy" not in row
        else:
            assert row["status"] == "finished" and 0 < row["average_accuracy"] < 1 and row["seconds"] >= 0
    assert len({row["folder"] for row in rows}) == 12


def test_stages_that_cells_share_are_trained_once(ablation):
    _, lines, _ = ablation
    trained = Counter(line.split("  ")[1] for line in lines if "  task " in line)
    # finetune and EWC share theirs, LifeQuant's proximal step acts in the first task too; two seeds
    assert trained["float"] == trained["w8a8"] == 4
    assert not any("validation -" in line for line in lines) and any("validation " in line for line in lines)


def test_a_shared_cell_is_the_run_that_it_would_be_alone(ablation, recipe, tmp_path):
    swept, *_ = ablation
    cell, row = swept.cells[0], swept.rows()[0]
    shared = swept.folder / row["folder"].split("/")[-2] / "seed0"
    lq.train(cell.recipe, tmp_path / "alone", log=silent)
    alone = tmp_path / "alone"
    ours, theirs = (named_leaves(latest_weights(folder)) for folder in (shared, alone))
    assert all((np.asarray(ours[name]) == np.asarray(leaf)).all() for name, leaf in theirs.items())
    for name in ("config.json", "accuracy_matrix.csv", "per_class.csv"):
        assert (shared / name).read_text() == (alone / name).read_text()
    with (shared / "metrics.csv").open() as one, (alone / "metrics.csv").open() as other:
        for own, its in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            assert own | {"images_per_second": ""} == its | {"images_per_second": ""}


def test_a_finished_sweep_trains_nothing_and_takes_more_seeds(ablation, recipe, tmp_path):
    swept, _, folder = ablation
    shutil.copytree(folder, tmp_path / "copy")
    grid = {"method": ["finetune"], BITS: [2, 4]}
    lines = []
    again = lq.sweep(recipe, grid, tmp_path / "copy", seeds=(0, 1), log=lines.append)
    assert not any("  task " in line for line in lines)
    same = [{**row, "folder": ""} for row in swept.rows()[:4]]
    assert [{**row, "folder": ""} for row in again.rows()] == same
    lq.sweep(recipe, grid, tmp_path / "copy", seeds=(0, 1, 2), log=lines.append)
    trained = [line for line in lines if "  task " in line]
    assert {line.split("  ")[0] for line in trained} == {"seed 2"}
    assert Counter(line.split("  ")[1] for line in trained) == {"float": 1, "w8a8": 1, "w4a4": 4}


def test_the_table_gives_means_and_reasons(ablation):
    swept, *_ = ablation
    table = swept.table().splitlines()
    assert table[0].split()[1:8:2] == ["method", BITS, "images", "n"] and [line[:2] for line in table[:8]] == ["| "] * 8
    assert all("| 0 " in line for line in table[4:6]) and table[8:11] == ["", "Not finished:", ""]
    lost = [line.split(": ")[:3] for line in table[11:]]
    assert lost == [
        [f"- ewc(strength=1e+30), {bits}, seed {seed}", "diverged", "stage w4a4"] for bits in (2, 4) for seed in (0, 1)
    ]
    accuracy = [row["average_accuracy"] for row in swept.rows()[:2]]
    assert f"{100 * np.mean(accuracy):.2f} ± {100 * np.std(accuracy, ddof=1):.2f}" in table[2]
    assert "validation" in table[2] and swept._repr_markdown_() == swept.table()


def test_several_grids_come_one_after_the_other(recipe):
    cells = make_cells(recipe, [{"method": ["si"]}, {"loss": ["ball_shift"], BITS: [2, 3]}], "validation")
    plain = {"method": "finetune", "loss": "cross_entropy", BITS: 4}
    assert [cell.varied for cell in cells] == [
        plain | {"method": "si"},
        plain | {"loss": "ball_shift", BITS: 2},
        plain | {"loss": "ball_shift", BITS: 3},
    ]
    assert [cell.recipe.stages[2].weight_bits for cell in cells] == [4, 2, 3]


def test_processes_share_the_cells_of_a_sweep(recipe, tmp_path):
    """While another process holds a cell, this one trains the others, and takes that one when it is free."""
    cells = make_cells(recipe, {BITS: [2, 4]}, "validation")
    (tmp_path / "locks").mkdir()
    other, order = FileLock(tmp_path / "locks" / digest(cells[0].recipe)), []
    other.acquire()

    def log(line):
        order.append(line.split("  ")[1])
        if "w4a4" in line and other.is_locked:
            other.release()

    swept = lq.sweep(recipe, {BITS: [2, 4]}, tmp_path, log=log)
    assert [row["status"] for row in swept.rows()] == ["finished"] * 2
    changed = [(tmp_path / digest(cell.recipe) / "seed0/summary.json").stat().st_mtime_ns for cell in cells]
    assert changed[0] > changed[1] and len(order) > 4


def test_the_plot_shows_every_seed(ablation):
    swept, *_ = ablation
    (figure,) = swept.plot("average_accuracy", by="method", hue=BITS).figures.values()
    (axes,) = figure.axes
    points = [line for line in axes.lines if line.get_alpha() == 0.5]
    shown = sorted(value for line in points for value in line.get_ydata())
    assert shown == pytest.approx(sorted(100 * row["average_accuracy"] for row in swept.rows() if "seconds" in row))
    looks = {(line.get_color(), line.get_marker()) for line in points}
    assert len(looks) == len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 2
    assert [label.get_text() for label in axes.get_xticklabels()] == ["finetune", "ewc(strength=1e+30)", "lifequant"]
    assert [text.get_text() for text in axes.texts] == ["none finished"]
    assert "on validation images, %" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("accuracy", "method", BITS), "no finished run has the metric 'accuracy'; the rows have average_accuracy, "),
        (("forgetting", "loss", None), "key='loss' is unknown; choose from method, stages.2.weight_bits"),
    ],
)
def test_a_plot_of_what_is_not_there_is_refused(ablation, words, text):
    with pytest.raises(lq.Refusal, match=text):
        ablation[0].plot(*words)


def test_all_runs_of_a_sweep_are_read(ablation):
    _, _, folder = ablation
    runs = lq.read(folder)
    assert len(runs.finished) == 8 and len(runs.others) == 4


@pytest.mark.parametrize(
    ("values", "grid", "on", "text"),
    [
        ({"data.validation": 0.0}, {BITS: [2]}, "validation", "data.validation=0.0 holds no training images out"),
        ({}, {"stages.2.bits": [2]}, "test", "recipe.stages.2.bits is an unknown key"),
        ({}, {BITS: [2, 9]}, "test", "stage.weight_bits=9 is not a bit-width"),
        ({}, {BITS: []}, "test", r"grid 'stages.2.weight_bits' is \[\]; give a list of values"),
        ({}, {"method": "ewc"}, "test", "grid 'method' is 'ewc'; give a list of values"),
        ({}, {"method": ["ewc", "gem"]}, "test", "recipe.method.name='gem' is unknown; choose from"),
        ({}, {"method": [("ewc", {"strength": -1.0})]}, "test", "strength"),
        ({}, {"method": ["ewc", ("ewc", {"strength": 100.0})]}, "test", "the grid has one recipe twice"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_is_written(recipe, tmp_path, values, grid, on, text):
    with pytest.raises(lq.Refusal, match=text):
        lq.sweep(recipe.replace(values), grid, tmp_path / "sweep", on=on)
    assert not (tmp_path / "sweep").exists()


def trunks(recipe, grid):
    """(number of stages, method) of the trunks of each cell."""
    return [
        [(len(one.stages), one.method.name) for one in cell.trunks] for cell in make_cells(recipe, grid, "validation")
    ]


def test_only_stages_with_every_setting_in_common_are_shared(recipe):
    assert trunks(recipe, {BITS: [2, 4]}) == [[(2, "finetune")]] * 2
    assert trunks(recipe, {"stages.1.epochs": [1, 2]}) == [[(1, "finetune")]] * 2
    assert trunks(recipe, {"stages.1.epochs": [1, 2], BITS: [2, 4]}) == [[(1, "finetune"), (2, "finetune")]] * 4
    assert trunks(recipe, {"stages.0.epochs": [1, 2]}) == [[]] * 2
    assert trunks(recipe, {"optimizer.momentum": [0.5, 0.9]}) == [[]] * 2


def test_methods_share_only_what_none_of_them_touches(recipe):
    methods = {"method": ["ewc", "si", "imm", ("lifequant", {"prox": 0.0}), "lifequant"]}
    shared = [(2, "finetune")]
    assert trunks(recipe, methods) == [shared, shared, [], shared, []]
    two_tasks = recipe.replace({"stages.1.tasks": 2})
    assert trunks(two_tasks, methods) == [[(1, "finetune")], [(1, "finetune")], [], [(1, "finetune")], []]


def test_a_method_of_ones_own_shares_with_no_other(recipe):
    own = "tests.train.own_parts:heavy_replay"  # its links are the defaults, as those of EWC
    methods = {"method": ["ewc", "si", (own, {"weight": 2.0}), (own, {"weight": 3.0})]}
    assert trunks(recipe, methods) == [[(2, "finetune")], [(2, "finetune")], [], []]
    assert trunks(recipe, {"method": [own], BITS: [2, 4]}) == [[(2, own)]] * 2  # one method's cells still share


def test_a_trunk_differs_from_its_recipe_in_stages_and_method_alone(recipe):
    ewc = complete(recipe.replace({"method": lq.Part("ewc")}))
    one = trunk(ewc, 2)
    assert to_json(one.replace({"method": ewc.method, "stages": ewc.stages})) == to_json(ewc)


def test_stages_that_diverge_are_told_of_every_cell(recipe, tmp_path, nans_pass):
    broken = recipe.replace({"stages.1.learning_rate": 1e6, "optimizer.schedule": "constant"})
    lines = []
    swept = lq.sweep(broken, {BITS: [2, 4]}, tmp_path, log=lines.append)
    assert [row["status"].split(":")[:2] for row in swept.rows()] == [["diverged", " stage w8a8"]] * 2
    assert isinstance(swept, Sweep) and sum("stopped: " in line for line in lines) == 1
    with pytest.raises(lq.Refusal, match="no finished run has the metric"):
        swept.plot("average_accuracy", by=BITS)


def test_the_ablation_of_the_docs_is_ten_lines(recipe, tmp_path):
    section = "An ablation of twelve runs"
    assert len([line for line in blocks(section).splitlines() if line]) <= 10
    names = executed(section, recipe=recipe, runs=tmp_path)
    assert len(names["rows"]) == 12 and all(row["status"] == "finished" for row in names["rows"])
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


def test_the_command_is_the_same_function(recipe, tmp_path, capsys):
    path = tmp_path / "recipe.py"
    path.write_text(f"from lifeq_jax.core.config import *\nrecipe = {recipe!r}\n")
    words = ["sweep", str(path), "--grid", "method.name=finetune,si", "--grid", "stages.2.weight-bits=2,4"]
    assert main([*words, "--seeds", "0,1", "--run", str(tmp_path / "sweep")]) == 0
    said = capsys.readouterr().out
    assert "| method.name | stages.2.weight-bits | images     | n " in said
    own = lq.sweep(recipe, {"method": ["finetune", "si"], BITS: [2, 4]}, tmp_path / "sweep", seeds=(0, 1))
    assert str(own.table()).splitlines()[-1].split("|")[3:] == said.split("\n\nmean")[0].splitlines()[-1].split("|")[3:]
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {
        "locks",
        "shared",
        *(row["folder"].split("/")[-2] for row in own.rows()),
    }


def test_a_cell_that_diverges_is_a_result_and_exits_with_0_but_no_result_with_1(recipe, tmp_path, capsys, nans_pass):
    path = tmp_path / "tiny.py"
    path.write_text(
        f"from lifeq_jax.core.config import *\nrecipe = {recipe.replace({'stages': recipe.stages[:1]})!r}\n"
    )
    words = ["sweep", str(path), "--run", str(tmp_path / "sweep"), "--optimizer.schedule", "constant"]
    words += ["--optimizer.weight-decay", "1", "--grid"]  # multiplies weights by minus the learning rate
    assert main([*words, "stages.0.learning-rate=1e6"]) == 1
    assert "none of the 1 runs finished; the table says why" in capsys.readouterr().err
    assert main([*words, "stages.0.learning-rate=1e6,0.1"]) == 0
    assert "Not finished:\n\n- 1000000.0, seed 0: diverged: stage float" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("method.name", "--grid 'method.name' lacks its values"),
        ("stages.2.weight-bits=two", "--grid 'stages.2.weight-bits=two': stages.2.weight-bits is of type int"),
        ("optimizer.milestones=0.1,0.2", "a value of this key is a list itself"),
        ("stages.2.weight-bits=2,4", "data.validation=0.0 holds no training images out"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(words, text, capsys):
    assert main(["sweep", "lifequant/resnet20_digits", "--grid", words]) == 2
    assert text in capsys.readouterr().err


STRENGTH = {"method": [("ewc", {"strength": 1.0}), "finetune"]}


def test_games_are_swept_too(tmp_path):
    lines = []
    swept = lq.sweep(GAMES, STRENGTH, tmp_path, seeds=(0, 1), log=lines.append)
    rows, names = swept.rows(), [f"return of {name}" for name in GAMES.games.names]
    assert [(row["method"], row["seed"], row["status"]) for row in rows] == [
        (method, seed, "finished") for method in ("ewc(strength=1.0)", "finetune") for seed in (0, 1)
    ]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in swept.table().splitlines()]
    assert table[0] == ["method", "n", *names]
    own = [row[names[1]] for row in rows[:2]]
    assert table[2][:2] == ["ewc(strength=1.0)", "2"]
    assert table[2][3] == f"{np.mean(own):.2f} ± {np.std(own, ddof=1):.2f}"
    (axes,) = swept.plot(names[1], by="method").figures[names[1]].axes
    assert axes.get_ylabel() == names[1]
    shown = [value for line in axes.lines if line.get_alpha() == 0.5 for value in line.get_ydata()]
    assert shown == [row[names[1]] for row in rows]
    del lines[:]
    lq.sweep(GAMES, STRENGTH, tmp_path, seeds=(0, 1), log=lines.append)
    assert all("is finished already" in line for line in lines)


@pytest.mark.parametrize(
    ("grid", "on", "text"),
    [
        ({"method": ["ewc", "er_ace"]}, None, "'er_ace' needs replayed images .which games have not"),
        ({"games.gamma": [0.9, 1.5]}, None, "games.gamma=1.5 is out of range"),
        (STRENGTH, "test", "on='test' chooses images, and games have none"),
    ],
)
def test_a_wrong_grid_of_games_is_refused(tmp_path, grid, on, text):
    with pytest.raises(lq.Refusal, match=text):
        lq.sweep(GAMES, grid, tmp_path / "sweep", on=on)
    assert not (tmp_path / "sweep").exists()


def test_the_command_sweeps_games(tmp_path, capsys):
    path = tmp_path / "recipe.py"
    path.write_text("from tests.rl.test_run import RECIPE as recipe\n")
    folder = tmp_path / "sweep"
    words = ["--stages.0.epochs", "1", "--games.updates", "1", "--run", str(folder)]
    assert main(["sweep", str(path), "--grid", "method.name=finetune,frozen", *words]) == 0
    said = capsys.readouterr().out
    assert "mean ± sample standard deviation over n seeds  " in said
    assert (folder / "return_of_catch_catch.png").exists() and (folder / "return_of_catch_dodge.png").exists()
