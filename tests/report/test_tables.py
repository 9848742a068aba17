"""Tables by hand: means, sample deviations, brackets, formulas."""

import dataclasses
import math

import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.metrics.continual import CONTINUAL, formula
from lifeq_jax.report import tables
from tests.report.test_groups import on_validation
from tests.runs.folders import MATRIX, SIZES, make_group, recipe

SECOND = [[0.7, 0.1, 0.0], [0.75, 0.6, 0.2], [0.3, 0.65, 0.5]]  # the other seed: 0.2 lower where it counts


@pytest.fixture
def two(tmp_path):
    return make_group(tmp_path, None, {}, {"matrix": SECOND})


@pytest.fixture
def tracked(tmp_path):
    """Two seeds; before re-estimation the accuracies are a quarter and a half lower."""
    return make_group(tmp_path, recipe("t"), {"lower": 0.25}, {"lower": 0.5})


@pytest.fixture
def frozen(tmp_path):
    """Two seeds whose layers were measured, with two more frozen bits of each value in the second."""
    return make_group(tmp_path, recipe("f"), {"more": 0}, {"more": 2})


@pytest.fixture
def single(tmp_path):
    """One seed of a single task."""
    return make_group(tmp_path, recipe("s", tasks=1), {"matrix": [[0.75]]})


def read(table):
    """Header and rows of a Markdown table."""
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return header, rows


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


def test_metrics_of_two_seeds_and_of_one(two):
    header, rows = read(tables.metrics_table(two))
    assert header == ["metric", "seed 0", "seed 1", "mean ± std"] and [row[0] for row in rows] == list(CONTINUAL)
    assert rows[0] == ["average_accuracy", "68.33", "48.33", "58.33 ± 14.14"]  # (50 + 85 + 70) / 3; 20 points / sqrt(2)
    header, rows = read(tables.metrics_table(two._replace(runs=two.runs[:1])))
    assert header == ["metric", "seed 0"] and rows[0] == ["average_accuracy", "68.33"]


def test_matrix_is_the_mean_and_brackets_what_was_not_trained(two):
    np.testing.assert_allclose(tables.mean_matrix(two), (np.array(MATRIX) + np.array(SECOND)) / 2)
    assert read(tables.matrix_table(two)) == (
        ["", "task 1", "task 2", "task 3"],
        [
            ["after task 1", "80.00", "(10.00)", "(0.00)"],
            ["after task 2", "85.00", "70.00", "(20.00)"],
            ["after task 3", "40.00", "75.00", "60.00"],
        ],
    )


def test_comparison_has_a_row_for_each_group_and_columns_of_what_any_measured(tmp_path, two, tracked, frozen):
    validated = make_group(tmp_path, on_validation(recipe("v")))
    header, rows = read(tables.comparison_table([two, validated]))
    assert header == ["recipe", "method", "loss", "bits (w/a)", "images", "n", *CONTINUAL]
    assert rows[0][:7] == ["digits", "finetune", "cross_entropy", "4/4", "test", "2", "58.33 ± 14.14"]
    assert rows[1][0] == "v on validation images" and rows[1][4:7] == ["validation", "1", "68.33"]
    header, rows = read(tables.comparison_table([two, tracked, frozen]))
    assert header[6:] == [*CONTINUAL, *tables.MEANINGS]
    assert header[-5:] == ["accuracy_before_reestimation", "oscillating", "frozen", "capacity", "dead_units"]
    assert rows[0][-5:] == [""] * 5
    # 68.33 a quarter and a half lower: 51.25 and 34.17
    assert rows[1][-5:] == ["42.71 ± 12.08", "0.20 ± 0.00", "30.00 ± 0.00", "", ""]
    assert rows[2][-5:] == ["", "", "", "35.00 ± 7.07", "20.00 ± 0.00"]  # 126 and 168 of 420 bits; 1 of 5 units


def test_layers_by_hand_where_every_seed_measured_them(two, frozen):
    assert read(tables.layers_table(frozen)) == (
        ["after task", "capacity used", "dead units"],
        [
            ["1", "12.14 ± 7.07", "60.00 ± 0.00"],  # 30 and 72 of 420 bits
            ["2", "21.43 ± 7.07", "40.00 ± 0.00"],
            ["3", "35.00 ± 7.07", "20.00 ± 0.00"],
        ],
    )
    assert tables.layers_table(frozen._replace(runs=(*frozen.runs, *two.runs))) == tables.layers_table(two) == ""


def test_one_task_has_nothing_to_forget(single, two):
    assert [row[0] for row in read(tables.metrics_table(single))[1]] == ["average_accuracy"]
    header, rows = read(tables.comparison_table([single]))
    assert header[6:] == ["average_accuracy"] and rows[0][6:] == ["75.00"]
    header, rows = read(tables.comparison_table([single, two]))
    assert header[6:] == list(CONTINUAL) and rows[0][6:] == ["75.00", "", "", "", "", ""]


def test_reestimation_by_hand_where_every_seed_measured_it(two, tracked):
    header, rows = read(tables.reestimation_table(tracked))
    assert header == ["stage", "after task", "before", "after", "gain, points"]
    # task 0: 67.5 and 45 become 90; mean 56.25, deviation 22.5 / sqrt(2)
    assert rows[0] == ["float", "1", "56.25 ± 15.91", "90.00 ± 0.00", "33.75 ± 15.91"]
    assert [row[:2] for row in rows[1:]] == [["four", "1"], ["four", "2"], ["four", "3"]]
    assert rows[3][2:] == ["42.71 ± 12.08", "68.33 ± 0.00", "25.62 ± 12.08"]
    for runs in ((*tracked.runs, *two.runs), (*two.runs, *tracked.runs)):
        assert tables.reestimation_table(tracked._replace(runs=runs)) == ""


def test_classes_by_hand(tmp_path):
    unequal = {"sizes": SIZES}
    group = make_group(tmp_path, recipe("a"), unequal, unequal | {"lost": 4})
    header, rows = read(tables.class_table([group, group._replace(runs=group.runs[:1])], many=100, few=20))
    assert header == ["recipe", "n", "accuracy", "balanced_accuracy", "many", "medium", "few"]
    # many: (18 + 16) / 40, (20 + 14) / 40 and 20 / 20; medium: 10 / 20, 12 / 20 and 18 / 40; few: 2, 4 and 0 of 20;
    # accuracy: 46, 50 and 38 of 80
    assert rows[1] == ["a", "1", "55.83", "55.83", "90.00", "51.67", "10.00"]
    # four images in twenty lost are 20 points, but the few lose only 10, 20 and 0
    assert rows[0][1:2] + rows[0][4:] == ["2", "80.00 ± 14.14", "41.67 ± 14.14", "5.00 ± 7.07"]
    _, rows = read(tables.class_table([group._replace(runs=group.runs[:1])], many=299, few=51))
    assert rows[0][4:] == ["96.67", "66.67", "30.00"]  # medium: 16, 14 and 10 of 20; few: 12, 16 and 8 of 40


def test_equal_classes_have_no_groups(tmp_path, two):
    assert tables.shown_numbers([two]) == ("accuracy", "balanced_accuracy")
    assert read(tables.class_table([two], 100, 20))[1] == [["digits", "2", "55.83 ± 0.00", "55.83 ± 0.00"]]
    assert len(tables.shown_numbers([two, make_group(tmp_path, recipe("b"), {"sizes": SIZES})])) == 5


def test_stages_by_hand(two):
    assert read(tables.stages_table(two))[1] == [
        ["float", "32/32", "1", "2", "80.00, 10.00, 0.00"],
        ["four", "4/4", "all", "2", "40.00, 75.00, 60.00"],
    ]


def test_formulas_are_those_of_the_metrics():
    assert read(tables.formula_table())[1] == [[name, f"`{formula(name)}`"] for name in CONTINUAL]
    assert len(read(tables.formula_table(["bwt"]))[1]) == 1


def test_facts_name_the_sources(tmp_path):
    config = dataclasses.replace(
        recipe(method="ewc", strength=5.0),
        loss=Part("focal", {"gamma": 2.0}),
        weight_quantizer=Part("lsq", {"symmetric": True}),
        quant_setup="LSQ_paper",
        oscillation=Part("freeze", {"momentum": 0.01}),
    )
    group = make_group(tmp_path, config)
    lines = {
        "method: ewc (strength=5.0)",
        "loss: focal (gamma=2.0)",
        "quantizers: weights lsq (symmetric=True); activations activation",
        "quantizer setup: LSQ_paper",
        "oscillation: freeze (momentum=0.01)",
        "accuracies measured on: test images",
        "seeds: 0",
        "commit: abc1234",
        "time of a run: 62 s",
        f"folders: `{group.runs[0].folder}`",
    }
    assert {f"- {line}" for line in lines} <= set(tables.facts(group).splitlines())
