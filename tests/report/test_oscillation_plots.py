"""What is drawn of oscillating weights is what the numbers say: read back from the figures."""

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report import oscillation_plots
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.oscillation import DistanceEnds
from lifeq_jax.report.runs import read_run
from tests.report.folders import SHARES, add_oscillation, recipe, rewrite, write_run


@pytest.fixture
def folders(tmp_path):
    return [add_oscillation(write_run(tmp_path / str(seed), recipe(seed=seed))) for seed in (0, 1)]


def draw(folders):
    return oscillation_plots.draw_shares(group_runs([read_run(folder) for folder in folders])[0])


def test_shares_have_a_panel_each_and_a_line_for_each_seed(folders):
    panels = draw(folders).axes
    assert [axes.get_ylabel() for axes in panels] == ["oscillating, % of weights", "frozen, % of weights"]
    for axes, name in zip(panels, SHARES, strict=True):
        lines = [line for line in axes.lines if line.get_marker() == "."]
        assert len(lines) == 2
        for line in lines:
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 9))
            np.testing.assert_allclose(line.get_ydata()[4:], 100 * np.array(SHARES[name]))
            assert np.isnan(line.get_ydata()[:4]).all()


def test_stages_are_named_once(folders):
    first, second = draw(folders).axes
    assert [text.get_text() for text in first.texts] == ["0", "0", "1", "2", "float", "four", "task", "stage"]
    assert not second.texts


def test_what_was_not_measured_has_no_panel(folders):
    for folder in folders:
        rewrite(folder / "metrics.csv", lambda row: row | {"frozen": ""})
    (axes,) = draw(folders).axes
    assert axes.get_ylabel() == "oscillating, % of weights" and axes.get_xlabel() == "epoch, all stages"


def test_distances_are_drawn_in_per_cent_over_one_step():
    first, last = np.full(20, 0.05), np.eye(20)[3]
    axes = oscillation_plots.draw_distances(DistanceEnds(first, last, ("task 0, epoch 1", "task 2, epoch 5"))).axes[0]
    for patch, shares in zip(axes.patches, (first, last), strict=True):
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, 100 * shares)
        np.testing.assert_allclose(edges, np.arange(-10, 11) / 20, atol=1e-12)
    assert [patch.get_label() for patch in axes.patches] == ["first: task 0, epoch 1", "last: task 2, epoch 5"]


GRID = np.array([-0.5, -0.25, 0.0, 0.25])
DISTANCE = np.array([0.1, 0.3])


def toy(number):
    series = {f"run {index}": np.linspace(0.1, 0.15, 7) + index / 100 for index in range(number)}
    frequency = {"ste": np.array([0.2, 0.6]), "freeze": np.array([0.0, 0.1])}
    return series, frequency, oscillation_plots.draw_toy(series, GRID, DISTANCE, frequency)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_toy_has_a_panel_for_each_series_and_one_for_frequency(number):
    series, frequency, figure = toy(number)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [*series, "frequency"]
    for axes, values in zip(panels, series.values(), strict=False):
        np.testing.assert_array_equal(axes.lines[-1].get_ydata(), values)
    drawn = {line.get_label(): line.get_xydata() for line in panels[-1].lines}
    assert drawn.keys() == frequency.keys()
    for label, values in frequency.items():
        np.testing.assert_array_equal(drawn[label], np.stack([DISTANCE, values], axis=1))


def test_toy_dashes_the_thresholds_half_way():
    axes = toy(1)[2].axes[0]
    dashed = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [-0.375, -0.125, 0.125])


def test_toy_shows_the_grid_points_around_the_trajectories():
    figure = toy(2)[2]
    for axes in figure.axes[:2]:  # trajectories lie between 0.1 and 0.16
        np.testing.assert_allclose(axes.get_ylim(), (-0.025, 0.275))


def test_toy_shows_values_beyond_the_grid():
    figure = oscillation_plots.draw_toy({"out": np.array([-0.6, 0.4])}, GRID, DISTANCE, {"out": DISTANCE})
    np.testing.assert_allclose(figure.axes[0].get_ylim(), (-0.625, 0.425))


def test_toy_takes_several_weights_in_one_panel():
    figure = oscillation_plots.draw_toy({"ste": np.zeros((7, 3))}, GRID, DISTANCE, {"ste": DISTANCE})
    plain = [line for line in figure.axes[0].lines if len(line.get_ydata()) == 7]
    assert len(plain) == 3


def test_toy_refuses_frequencies_of_another_length():
    with pytest.raises(Refusal, match=r"frequency of 'ste' has shape \(3,\), distance \(2,\)"):
        oscillation_plots.draw_toy({"ste": np.zeros(4)}, GRID, DISTANCE, {"ste": np.zeros(3)})
