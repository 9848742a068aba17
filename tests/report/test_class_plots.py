"""The plot of accuracy by class: its numbers are read back from the figure."""

import numpy as np
import pytest

from lifeq_jax.report.class_plots import MOST_NAMED, draw_classes
from lifeq_jax.report.classes import Curve

CURVE = Curve(np.array([3, 1, 0]), np.array([90.0, 30.0, 0.0]), np.array([0.9, 0.6, 0.1]), np.array([0.0, 0.1, 0.05]))
OTHER = CURVE._replace(mean=np.array([0.8, 0.5, 0.2]), deviation=np.zeros(3))


def test_groups_of_the_same_classes_share_a_panel():
    axes, sizes = draw_classes([("a", CURVE), ("b", OTHER)]).axes
    for line, curve in zip(axes.lines, (CURVE, OTHER), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
        np.testing.assert_allclose(line.get_ydata(), 100 * curve.mean)
    assert [bar.get_height() for bar in sizes.patches] == [90, 30, 0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "1", "0"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_the_spread_is_a_band():
    axes = draw_classes([("a", CURVE), ("b", OTHER)]).axes[0]
    (band,) = axes.collections  # none where there is no deviation
    edges = band.get_paths()[0].vertices
    for place, (mean, reach) in enumerate(zip(CURVE.mean, CURVE.deviation, strict=True)):
        heights = edges[edges[:, 0] == place, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [100 * (mean - reach), 100 * (mean + reach)])


@pytest.mark.parametrize(
    "other", [OTHER._replace(train_images=np.array([9.0, 3.0, 0.0])), Curve(*(x[:2] for x in OTHER))]
)
def test_other_sizes_get_a_panel_of_their_own(other):
    figure = draw_classes([("a", CURVE), ("b", other), ("c", OTHER)])
    panels = [axes for axes in figure.axes if axes.lines]
    assert [[line.get_label() for line in axes.lines] for axes in panels] == [["a", "c"], ["b"]]


def test_one_label_for_two_groups_keeps_both_lines():
    assert len(draw_classes([("a", CURVE), ("a", CURVE)]).axes[0].lines) == 2


def test_many_classes_are_not_named():
    count = MOST_NAMED + 1
    curve = Curve(np.arange(count), np.full(count, 5.0), np.full(count, 0.5), np.zeros(count))
    assert draw_classes([("a", curve)]).axes[0].get_xticklabels() == []
