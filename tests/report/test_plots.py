"""What is drawn is what the runs say: the numbers are read back from the figures."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report import oscillation_plots, plots
from lifeq_jax.report.comparison_plots import draw_comparison, draw_tradeoff
from lifeq_jax.report.oscillation import DistanceEnds
from lifeq_jax.report.oscillation_plots import SHOWN_STEPS
from lifeq_jax.report.style import cues, task_cues
from lifeq_jax.runs.columns import METRICS
from lifeq_jax.runs.read import read_run
from tests.runs.folders import MATRIX, SHARES, make_group, recipe, rewrite

SECOND = [[0.7, 0.1, 0.0], [0.75, 0.6, 0.2], [0.3, 0.65, 0.5]]


@pytest.fixture
def two(tmp_path):
    return make_group(tmp_path, None, {"lower": 0.5}, {"lower": 0.5, "matrix": SECOND})


def texts(axes):
    return [text.get_text() for text in axes.texts]


def curves(axes):
    """Without uprights and the legend's handles."""
    return [line for line in axes.lines if len(set(line.get_xdata())) > 1]


def test_matrix_carries_its_numbers(two):
    axes = plots.draw_matrix(two).axes[0]
    shown = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    mean = 50 * (np.array(MATRIX) + np.array(SECOND))
    bracketed = {(0, 1), (0, 2), (1, 2)}
    plain = {place: f"{mean[place]:.1f}" for place in np.ndindex(3, 3)}
    spread = 100 * np.abs(np.array(MATRIX) - SECOND) / np.sqrt(2)
    both = {place: f"{text}\n±{spread[place]:.1f}" for place, text in plain.items()}
    assert shown == {place: f"({text})" if place in bracketed else text for place, text in both.items()}
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["1", "2", "3"]


def test_matrix_leaves_empty_cells_empty(tmp_path):
    (run,) = (group := make_group(tmp_path)).runs
    group = group._replace(runs=(run._replace(matrix=np.array([[0.5, np.nan], [0.25, 1.0]])),))
    assert sorted(texts(plots.draw_matrix(group).axes[0])) == ["100.0", "25.0", "50.0"]


def test_training_has_mean_band_and_seeds_and_marks_each_change(two):
    figure = plots.draw_training(two)
    (axes,) = figure.axes
    mean, first, second = curves(axes)[3:6]  # of task 2, in evaluated epochs
    np.testing.assert_allclose(mean.get_xydata(), [[2, 10], [4, 10], [6, 70], [8, 75]])
    np.testing.assert_allclose([first.get_ydata()[2], second.get_ydata()[2]], [80, 60])
    assert len(curves(axes)) == 9 and first.get_linewidth() < 1 < mean.get_linewidth()
    edges = axes.collections[1].get_paths()[0].vertices
    np.testing.assert_allclose(np.ptp(edges[edges[:, 0] == 6, 1]), 2 * 20 / np.sqrt(2))
    uprights = {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert uprights == {2.5, 4.5, 6.5, 8.5}
    assert texts(axes) == ["1", "1", "2", "3", "float", "four", "task", "stage"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["task 1", "task 2", "task 3"]


def test_spans_by_hand():
    assert plots.spans("aabccc") == [(0, 2), (2, 3), (3, 6)]
    assert plots.spans("") == []


def test_runs_of_different_lengths_have_no_mean(two):
    first, second = two.runs
    short = second.history._replace(**{name: getattr(second.history, name)[:-2] for name in ("stage", "task")})
    short = short._replace(accuracy=second.history.accuracy[:-2])
    axes = plots.draw_training(two._replace(runs=(first, second._replace(history=short)))).axes[0]
    assert len(curves(axes)) == 6 and not axes.collections


def test_forgetting_by_hand_without_the_last_task(two):
    axes = plots.draw_forgetting(two).axes[0]
    means = [container.lines[0].get_xydata()[0] for container in axes.containers]
    np.testing.assert_allclose(means, [[1, 45], [2, 0]], atol=1e-12)  # 95-50, 75-30
    assert axes.get_xticks().tolist() == [1, 2]


def points(axes):
    """The x of the large points, one for each group."""
    return [container.lines[0].get_xdata()[0] for container in axes.containers]


def test_comparison_draws_best_on_top(tmp_path, two):
    other = make_group(tmp_path, recipe("other", method="ewc"))
    panels = draw_comparison([other, two, two]).axes
    np.testing.assert_allclose(points(panels[0]), [68.3333, 58.3333, 58.3333], atol=1e-3)
    np.testing.assert_allclose(points(panels[1]), [80, 70, 70], atol=1e-3)  # learning accuracy, when a task was new
    assert panels[0].yaxis_inverted() and "58.33 ± 14.14" in texts(panels[0])
    named = [label.get_text() for label in panels[0].get_yticklabels()]
    assert named == ["other, n=1", "digits, n=2", "digits, n=2"]
    small = [line for line in panels[0].lines if line.get_alpha()]
    np.testing.assert_allclose(small[0].get_xdata(), [68.3333, 48.3333], atol=1e-3)  # each seed
    low, high = panels[0].get_xlim()
    assert 0 < low < 58.3333 - 14.14 and 68.3333 < high < 75
    assert len({(line.get_color(), line.get_marker()) for line in small}) == 2


def test_single_tasks_have_no_forgetting(tmp_path, two):
    first, second = (make_group(tmp_path, recipe(name, tasks=1), {"matrix": [[0.75]]}) for name in "ab")
    (axes,) = draw_comparison([first, second]).axes
    assert axes.get_xlabel().startswith("average accuracy, %")
    assert points(axes) == [75, 75]
    axes = draw_comparison([two, first]).axes[2]
    assert points(axes) == [22.5]
    assert texts(axes) == ["22.50 ± 0.00", ""]


def test_learning_and_forgetting_of_each_group(tmp_path, two):
    other = make_group(tmp_path, recipe("other", method="ewc"))
    figure = draw_tradeoff([other, two])
    large = [line for line in figure.axes[0].lines if not line.get_alpha()]
    np.testing.assert_allclose([line.get_xydata()[0] for line in large], [[80, 22.5], [70, 22.5]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["other, n=1", "digits, n=2"]


@pytest.mark.parametrize("tasks", [1, 7, 8, 20])
def test_tasks_differ_in_color(tasks):
    assert len({tuple(to_rgb(cue.color)) for cue in task_cues(tasks)}) == tasks


def test_no_two_cues_are_alike():
    assert len(set(cues(77))) == 77


def test_saves_a_png(tmp_path, two):
    path = plots.save(plots.draw_matrix(two), tmp_path / "m.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_shares_have_a_panel_each_and_a_line_for_each_seed(two):
    panels = oscillation_plots.draw_shares(two).axes
    assert [axes.get_ylabel() for axes in panels] == ["oscillating, % of weights", "frozen, % of weights"]
    for axes, name in zip(panels, SHARES, strict=True):
        assert len(curves(axes)) == 2
        for line in curves(axes):
            expected = [np.nan] * 4 + [100 * share for share in SHARES[name]]
            np.testing.assert_allclose(line.get_xydata(), np.stack([np.arange(1, 9), expected], axis=1))
    assert texts(panels[0]) == ["1", "1", "2", "3", "float", "four", "task", "stage"] and not texts(panels[1])
    for run in two.runs:
        rewrite(run.folder / METRICS, lambda row: row | {"frozen": ""})
    unfrozen = two._replace(runs=tuple(read_run(run.folder) for run in two.runs))
    (axes,) = oscillation_plots.draw_shares(unfrozen).axes
    assert axes.get_ylabel() == "oscillating, % of weights" and axes.get_xlabel() == "epoch, all stages"


def test_distances_are_drawn_in_per_cent_over_one_step():
    ends = DistanceEnds(np.full(20, 0.05), np.eye(20)[3], ("task 1, epoch 1", "task 3, epoch 5"))
    axes = oscillation_plots.draw_distances(ends).axes[0]
    for patch, shares in zip(axes.patches, ends[:2], strict=True):
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, 100 * shares)
        np.testing.assert_allclose(edges, np.arange(-10, 11) / 20, atol=1e-12)
    assert [patch.get_label() for patch in axes.patches] == ["first: task 1, epoch 1", "last: task 3, epoch 5"]


GRID = np.array([-0.5, -0.25, 0.0, 0.25])
DISTANCE = np.array([0.1, 0.3])


@pytest.mark.parametrize("number", [1, 2, 4])
def test_toy_has_a_panel_for_each_series_and_one_for_frequency(number):
    steps, last = 3 * SHOWN_STEPS, np.arange(2 * SHOWN_STEPS, 3 * SHOWN_STEPS)
    series = {f"run {index}": np.linspace([0.1, 0.1], [0.12, 0.14], steps) + index for index in range(number)}
    frequency = {"ste": np.array([0.2, 0.6]), "freeze": np.array([0.0, 0.1])}
    figure = oscillation_plots.draw_toy(series, GRID, DISTANCE, frequency)
    assert [axes.get_title() for axes in figure.axes] == [*series, "frequency"]
    for axes, values in zip(figure.axes, series.values(), strict=False):
        drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
        for line, own in zip(drawn, values.T, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), np.stack([last, own[last]], axis=1))
        low, high = axes.get_ylim()
        assert low < values[last].min() < values[last].max() < high < low + 0.1
    dashed = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [-0.375, -0.125, 0.125])  # half-way
    drawn = {line.get_label(): line.get_xydata() for line in figure.axes[-1].lines}
    assert drawn.keys() == frequency.keys()
    for label, values in frequency.items():
        np.testing.assert_array_equal(drawn[label], np.stack([DISTANCE, values], axis=1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0.1", "0.3"]


def test_toy_refuses_values_of_another_length():
    with pytest.raises(Refusal, match="'ste' has 3 values, distance 2"):
        oscillation_plots.draw_toy({"run": np.zeros((4, 2))}, GRID, DISTANCE, {"ste": np.zeros(3)})
