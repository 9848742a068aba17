"""What is drawn is what the runs say: the numbers are read back from the figures."""

import numpy as np
import pytest

from lifeq_jax.metrics.continual import forgetting_per_task
from lifeq_jax.report import plots
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.runs import read_run
from tests.report.folders import MATRIX, recipe, write_run

SECOND = [[0.7, 0.1, 0.0], [0.75, 0.6, 0.2], [0.3, 0.65, 0.5]]


@pytest.fixture
def two(tmp_path):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", recipe(seed=1), SECOND)]
    return group_runs([read_run(folder) for folder in folders])[0]


def test_matrix_carries_its_numbers(two):
    axes = plots.draw_matrix(two).axes[0]
    shown = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    mean = 50 * (np.array(MATRIX) + np.array(SECOND))
    bracketed = {(0, 1), (0, 2), (1, 2)}
    plain = {place: f"{mean[place]:.1f}" for place in np.ndindex(3, 3)}
    assert shown == {place: f"({text})" if place in bracketed else text for place, text in plain.items()}


def test_matrix_leaves_empty_cells_empty(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "accuracy_matrix.csv").write_text("task_0,task_1\n0.5,\n0.25,1\n")
    axes = plots.draw_matrix(group_runs([read_run(folder)])[0]).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["100.0", "25.0", "50.0"]


def test_training_has_a_line_for_each_seed_and_task(two):
    axes = plots.draw_training(two).axes[0]
    lines = [line for line in axes.lines if line.get_marker() == "."]
    assert len(lines) == 6
    np.testing.assert_array_equal(lines[1].get_xdata(), [2, 4, 6, 8])  # epochs that were evaluated
    np.testing.assert_allclose(lines[1].get_ydata(), [10, 10, 80, 85])  # task 1 of the first seed


def test_training_marks_each_change(two):
    axes = plots.draw_training(two).axes[0]
    uprights = {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert uprights == {2.5, 4.5, 6.5, 8.5}
    assert [text.get_text() for text in axes.texts] == ["0", "0", "1", "2", "float", "four", "task", "stage"]


def test_spans_by_hand():
    assert plots.spans("aabccc") == [(0, 2), (2, 3), (3, 6)]
    assert plots.spans("") == []


def test_forgetting_bars_by_hand(two):
    axes = plots.draw_forgetting(two).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [45, 0, 0], atol=1e-12)  # both seeds: 95 - 50 and 75 - 30
    np.testing.assert_allclose(forgetting_per_task(np.array(MATRIX)), [0.45, 0, 0], atol=1e-12)


def test_comparison_draws_best_on_top(tmp_path, two):
    other = group_runs([read_run(write_run(tmp_path / "c", recipe("other", method="ewc")))])[0]
    panels = plots.draw_comparison([other, two]).axes
    np.testing.assert_allclose([bar.get_width() for bar in panels[0].patches], [68.3333, 58.3333], atol=1e-3)
    assert panels[0].yaxis_inverted()
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["other, n=1", "digits, n=2"]
    assert "58.33 ± 14.14" in [text.get_text() for text in panels[0].texts]


def test_comparison_of_single_tasks_has_no_forgetting(tmp_path):
    configs = [(recipe(tasks=1), [[0.75]]), (recipe("b", tasks=1), [[0.5]])]
    groups = group_runs([read_run(write_run(tmp_path / config.name, config, matrix)) for config, matrix in configs])
    (axes,) = plots.draw_comparison(groups).axes
    assert axes.get_xlabel() == "average accuracy, %"
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [75, 50])


def test_a_single_task_beside_several_has_no_forgetting_bar(tmp_path, two):
    single = group_runs([read_run(write_run(tmp_path / "c", recipe("c", tasks=1), [[0.75]]))])[0]
    axes = plots.draw_comparison([two, single]).axes[1]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [22.5, 0], atol=1e-12)
    assert [text.get_text() for text in axes.texts] == ["22.50 ± 0.00", ""]


def test_groups_of_one_label_keep_bars_of_their_own(two):
    assert len(plots.draw_comparison([two, two]).axes[0].patches) == 2


@pytest.mark.parametrize("tasks", [1, 10, 11, 20])
def test_tasks_differ_in_color(tasks):
    assert len({tuple(color) for color in plots.task_colors(tasks)}) == tasks


def test_saves_a_png(tmp_path, two):
    path = plots.save(plots.draw_matrix(two), tmp_path / "m.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
