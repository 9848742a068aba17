"""The plots of accuracy by class and of frozen bits: their numbers are read back from the figures."""

import numpy as np
import pytest

from lifeq_jax.report.class_plots import MOST_NAMED, draw_classes
from lifeq_jax.report.classes import Curve
from lifeq_jax.report.layer_plots import LINES_OF_A_COLUMN, draw_bits

CURVE = Curve(np.array([3, 1, 0]), np.array([90.0, 30.0, 0.0]), np.array([0.9, 0.6, 0.1]), np.array([0.0, 0.1, 0.05]))
OTHER = CURVE._replace(mean=np.array([0.8, 0.5, 0.2]), deviation=np.zeros(3))


def test_groups_of_the_same_classes_share_a_panel():
    axes, sizes = draw_classes([("a", CURVE), ("b", OTHER)]).axes
    for line, curve in zip(axes.lines, (CURVE, OTHER), strict=True):
        np.testing.assert_allclose(line.get_xydata(), np.stack([np.arange(3), 100 * curve.mean], axis=1))
    assert [bar.get_height() for bar in sizes.patches] == [90, 30, 0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "1", "0"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    (band,) = axes.collections  # none where there is no deviation
    edges = band.get_paths()[0].vertices
    for place, (mean, reach) in enumerate(zip(CURVE.mean, CURVE.deviation, strict=True)):
        heights = edges[edges[:, 0] == place, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [100 * (mean - reach), 100 * (mean + reach)])


@pytest.mark.parametrize(
    "other", [OTHER._replace(train_images=np.array([9.0, 3.0, 0.0])), Curve(*(x[:2] for x in OTHER))]
)
def test_other_sizes_get_a_panel_of_their_own(other):
    figure = draw_classes([("a", CURVE), ("b", other), ("c", OTHER), ("c", OTHER)])
    panels = [axes for axes in figure.axes if axes.lines]
    assert [[line.get_label() for line in axes.lines] for axes in panels] == [["a", "c", "c"], ["b"]]


def test_many_classes_are_not_named():
    count = MOST_NAMED + 1
    curve = Curve(np.arange(count), np.full(count, 5.0), np.full(count, 0.5), np.zeros(count))
    assert draw_classes([("a", curve)]).axes[0].get_xticklabels() == []


def test_bits_have_a_line_for_each_layer():
    bits = {"stem/dense": np.array([1.0, 3.0, 8.0]), "blocks_0/dense": np.array([2.0, 4.0, 6.0])}
    figure = draw_bits(bits)
    (axes,) = figure.axes
    for line, values in zip(axes.lines, bits.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([[1, 2, 3], values], axis=1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(bits)
    assert axes.get_xticks().tolist() == [1, 2, 3] and axes.get_ylim()[0] == 0


@pytest.mark.parametrize("number", [1, LINES_OF_A_COLUMN, LINES_OF_A_COLUMN + 1, 54])
def test_no_two_of_many_layers_look_alike_and_their_legend_fits(number):
    figure = draw_bits({f"blocks_{layer}/conv": np.arange(3.0) + layer for layer in range(number)})
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == number
    assert legend._ncols == -(-number // LINES_OF_A_COLUMN)
    drawn = legend.get_window_extent()
    assert drawn.y0 >= 0 and drawn.y1 <= figure.bbox.height
    assert drawn.x1 <= figure.bbox.width and drawn.x0 >= axes.bbox.x1
