"""Tables by hand: means, sample deviations, brackets, formulas."""

import dataclasses
import math

import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.metrics.continual import CONTINUAL, formula
from lifeq_jax.report import tables
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.runs import read_run
from tests.report.folders import MATRIX, add_classes, add_layers, add_oscillation, recipe, write_run

SECOND = [[0.7, 0.1, 0.0], [0.75, 0.6, 0.2], [0.3, 0.65, 0.5]]  # the other seed: 0.2 lower where it counts


@pytest.fixture
def one(tmp_path):
    return group_runs([read_run(write_run(tmp_path / "one"))])[0]


@pytest.fixture
def two(tmp_path):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", recipe(seed=1), SECOND)]
    return group_runs([read_run(folder) for folder in folders])[0]


@pytest.fixture
def tracked(tmp_path):
    """Two seeds; before re-estimation the accuracies are a quarter and a half lower."""
    folders = [add_oscillation(write_run(tmp_path / f"t{seed}", recipe("t", seed)), loss) for seed, loss in LOSSES]
    return group_runs([read_run(folder) for folder in folders])[0]


@pytest.fixture
def single(tmp_path):
    """One seed of a single task."""
    return group_runs([read_run(write_run(tmp_path / "single", recipe("s", tasks=1), [[0.75]]))])[0]


LOSSES = ((0, 0.25), (1, 0.5))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_mean_and_std_by_hand():
    mean, deviation = tables.mean_and_std([1.0, 2.0, 4.0])
    assert mean == pytest.approx(7 / 3)
    assert deviation == pytest.approx(math.sqrt((16 + 1 + 25) / 9 / 2))  # of -4/3, -1/3, 5/3


def test_one_value_has_no_deviation():
    mean, deviation = tables.mean_and_std([0.5])
    assert mean == 0.5 and math.isnan(deviation)


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.5, math.nan, "50.00"),
        (0.12345, 0.00678, "12.35 ± 0.68"),
        (math.nan, math.nan, ""),
        (-0.175, 0, "-17.50 ± 0.00"),
    ],
)
def test_per_cent(mean, deviation, text):
    assert tables.per_cent(mean, deviation) == text


def test_metrics_of_one_run(one):
    lines = tables.metrics_table(one).splitlines()
    assert cells(lines[0]) == ["metric", "seed 0"]
    assert cells(lines[2]) == ["average_accuracy", "68.33"]  # (50 + 85 + 70) / 3
    assert [cells(line)[0] for line in lines[2:]] == list(CONTINUAL)


def test_metrics_of_two_seeds(two):
    lines = tables.metrics_table(two).splitlines()
    assert cells(lines[0]) == ["metric", "seed 0", "seed 1", "mean ± std"]
    assert cells(lines[2]) == ["average_accuracy", "68.33", "48.33", "58.33 ± 14.14"]  # 20 points / sqrt(2)


def test_matrix_is_the_mean_and_brackets_what_was_not_trained(two):
    lines = tables.matrix_table(two).splitlines()
    np.testing.assert_allclose(tables.mean_matrix(two), (np.array(MATRIX) + np.array(SECOND)) / 2)
    assert cells(lines[2]) == ["after task 0", "80.00", "(10.00)", "(0.00)"]
    assert cells(lines[4]) == ["after task 2", "40.00", "75.00", "60.00"]


def test_comparison_has_a_row_for_each_group(one, two):
    lines = tables.comparison_table([one, two]).splitlines()
    assert cells(lines[0]) == ["recipe", "method", "loss", "bits (w/a)", "n", *CONTINUAL]
    assert cells(lines[2])[:6] == ["digits", "finetune", "cross_entropy", "4/4", "1", "68.33"]
    assert cells(lines[3])[4:6] == ["2", "58.33 ± 14.14"]


def test_comparison_has_no_columns_of_what_nobody_measured(one, two):
    assert tables.shown_meanings([one, two]) == ()
    assert "oscillating" not in tables.comparison_table([one, two])


def test_comparison_shows_oscillation_where_any_group_has_it(two, tracked):
    header, _, plain, measured = map(cells, tables.comparison_table([two, tracked]).splitlines())
    assert header[-3:] == ["accuracy_before_reestimation", "oscillating", "frozen"]
    assert plain[-3:] == ["", "", ""]
    # 68.33 a quarter and a half lower: 51.25 and 34.17
    assert measured[-3:] == ["42.71 ± 12.08", "0.20 ± 0.00", "30.00 ± 0.00"]


def frozen_group(tmp_path, more):
    """Two seeds whose layers were measured; `more` frozen bits in the second, None: not measured."""
    folders = [write_run(tmp_path / f"f{seed}", recipe("f", seed)) for seed in range(2)]
    add_layers(folders[0])
    if more is not None:
        add_layers(folders[1], more)
    return group_runs([read_run(folder) for folder in folders])[0]


def test_comparison_shows_capacity_where_any_group_has_it(tmp_path, two):
    header, _, plain, measured = map(cells, tables.comparison_table([two, frozen_group(tmp_path, 2)]).splitlines())
    assert header[-2:] == ["capacity", "dead_units"] and header[-3] == list(CONTINUAL)[-1]
    assert plain[-2:] == ["", ""]
    assert measured[-2:] == ["35.00 ± 7.07", "20.00 ± 0.00"]  # 126 and 168 of 420 bits; 1 of 5 units


def test_layers_by_hand(tmp_path):
    lines = tables.layers_table(frozen_group(tmp_path, 2)).splitlines()
    assert [cells(line) for line in (lines[0], *lines[2:])] == [
        ["after task", "capacity used", "dead units"],
        ["0", "12.14 ± 7.07", "60.00 ± 0.00"],  # 30 and 72 of 420 bits
        ["1", "21.43 ± 7.07", "40.00 ± 0.00"],
        ["2", "35.00 ± 7.07", "20.00 ± 0.00"],
    ]


def test_layers_are_shown_where_every_seed_measured_them(tmp_path, two):
    assert tables.layers_table(two) == tables.layers_table(frozen_group(tmp_path, None)) == ""


def test_one_task_has_nothing_to_forget(single):
    assert tables.shown_metrics([single]) == ("average_accuracy",)
    assert [cells(line)[0] for line in tables.metrics_table(single).splitlines()[2:]] == ["average_accuracy"]
    header, _, row = map(cells, tables.comparison_table([single]).splitlines())
    assert header[5:] == ["average_accuracy"] and row[5:] == ["75.00"]


def test_one_task_beside_several_leaves_its_cells_empty(single, two):
    header, _, row, _ = map(cells, tables.comparison_table([single, two]).splitlines())
    assert header[5:] == list(CONTINUAL) and row[5:] == ["75.00", "", "", "", "", ""]


def test_reestimation_by_hand(tracked):
    header, _, *rows = map(cells, tables.reestimation_table(tracked).splitlines())
    assert header == ["stage", "after task", "before", "after", "gain, points"]
    # task 0: 67.5 and 45 become 90; mean 56.25, deviation 22.5 / sqrt(2)
    assert rows[0] == ["float", "0", "56.25 ± 15.91", "90.00 ± 0.00", "33.75 ± 15.91"]
    assert [row[:2] for row in rows] == [["float", "0"], ["four", "0"], ["four", "1"], ["four", "2"]]
    assert rows[3][2:] == ["42.71 ± 12.08", "68.33 ± 0.00", "25.62 ± 12.08"]


def test_reestimation_shows_what_every_seed_measured(tmp_path, tracked):
    without = read_run(write_run(tmp_path / "w", recipe("t", 2)))
    assert tables.reestimation_table(tracked._replace(runs=(*tracked.runs, without))) == ""
    assert tables.reestimation_table(tracked._replace(runs=(without, *tracked.runs))) == ""


def classes_group(tmp_path, name, losses, **kwargs):
    """A group whose seeds lose so many right images of each class; without per_class.csv where that is None."""
    folders = [write_run(tmp_path / f"{name}{seed}", recipe(name, seed)) for seed in range(len(losses))]
    for folder, lost in zip(folders, losses, strict=True):
        if lost is not None:
            add_classes(folder, lost, **kwargs)
    return group_runs([read_run(folder) for folder in folders])[0]


def test_classes_by_hand(tmp_path, one):
    groups = [classes_group(tmp_path, "a", [0, 4]), one, classes_group(tmp_path, "b", [0, None])]
    header, _, *rows = map(cells, tables.class_table(groups, many=100, few=20).splitlines())
    assert header == ["recipe", "n", "accuracy", "balanced_accuracy", "many", "medium", "few"]
    assert [row[:2] for row in rows] == [["a", "2"], ["b", "1"]]
    # many: (18 + 16) / 40, (20 + 14) / 40 and 20 / 20; medium: 10 / 20, 12 / 20 and 18 / 40; few: 2, 4 and 0 of 20
    assert rows[1][4:] == ["90.00", "51.67", "10.00"]
    # four images in twenty lost are 20 points, but the few lose only 10, 20 and 0
    assert rows[0][4:] == ["80.00 ± 14.14", "41.67 ± 14.14", "5.00 ± 7.07"]
    assert rows[1][2:4] == ["55.83", "55.83"]  # 46, 50 and 38 of 80


def test_bounds_move_the_groups(tmp_path):
    group = classes_group(tmp_path, "a", [0])
    last = cells(tables.class_table([group], many=299, few=51).splitlines()[2])
    assert last[4:] == ["96.67", "66.67", "30.00"]  # medium: 16, 14 and 10 of 20; few: 12, 16 and 8 of 40


def test_equal_classes_have_no_groups(tmp_path, one):
    equal = classes_group(tmp_path, "a", [0], sizes=dict.fromkeys(range(3), (50,) * 4))
    assert tables.shown_numbers([equal, one]) == ("accuracy", "balanced_accuracy")
    assert cells(tables.class_table([equal], 100, 20).splitlines()[2]) == ["a", "1", "55.83", "55.83"]
    assert tables.shown_numbers([one]) == ()
    assert len(tables.shown_numbers([equal, classes_group(tmp_path, "b", [0])])) == 5


def test_stages_by_hand(two):
    lines = tables.stages_table(two).splitlines()
    assert cells(lines[2]) == ["float", "32/32", "1", "2", "80.00, 10.00, 0.00"]
    assert cells(lines[3]) == ["four", "4/4", "all", "2", "40.00, 75.00, 60.00"]


def test_formulas_are_those_of_the_metrics():
    rows = [cells(line) for line in tables.formula_table().splitlines()[2:]]
    assert rows == [[name, f"`{formula(name)}`"] for name in CONTINUAL]
    assert len(tables.formula_table(["bwt"]).splitlines()) == 3


def test_facts_name_the_sources(tmp_path):
    config = dataclasses.replace(recipe(method="ewc", strength=5.0), loss=Part("focal", {"gamma": 2.0}))
    run = read_run(write_run(tmp_path / "x", config))
    text = tables.facts(group_runs([run])[0])
    for line in (
        "method: ewc (strength=5.0)",
        "loss: focal (gamma=2.0)",
        "seeds: 0",
        "accuracies measured on: test images",
        "commit: abc1234",
        "time of a run: 62 s",
        str(tmp_path / "x"),
    ):
        assert line in text


def test_facts_name_the_quantizers(tmp_path):
    config = dataclasses.replace(
        recipe(),
        weight_quantizer=Part("lsq", {"symmetric": True}),
        quant_setup="LSQ_paper",
        oscillation=Part("freeze", {"momentum": 0.01}),
    )
    lines = tables.facts(group_runs([read_run(write_run(tmp_path / "x", config))])[0]).splitlines()
    assert "- quantizers: weights lsq (symmetric=True); activations activation" in lines
    assert "- quantizer setup: LSQ_paper" in lines
    assert "- oscillation: freeze (momentum=0.01)" in lines
