"""The plots of single classes and of layers: their numbers are read back from the figures."""

import numpy as np
import pytest

from lifeq_jax.report.class_plots import MOST_NAMED, draw_classes, draw_confusion
from lifeq_jax.report.classes import ClassCurve
from lifeq_jax.report.layer_plots import LINES_OF_A_COLUMN, draw_bits, draw_layer_sizes
from lifeq_jax.report.layers import units
from lifeq_jax.runs.size import LayerSize

CURVE = ClassCurve(
    np.array([3, 1, 0]), np.array([90.0, 30.0, 0.0]), np.array([0.9, 0.6, 0.1]), np.array([0.0, 0.1, 0.05])
)
OTHER = CURVE._replace(mean=np.array([0.8, 0.5, 0.2]), deviation=np.zeros(3))


def maps(figure):
    return [axes for axes in figure.axes if axes.get_xlabel().startswith("class")]


def test_groups_of_the_same_classes_share_a_map():
    figure = draw_classes([("a", [CURVE]), ("b", [OTHER])])
    (axes,), sizes = maps(figure), figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * np.array([CURVE.mean, OTHER.mean]))
    assert [bar.get_height() for bar in sizes.patches] == [90, 30, 0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "1", "0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.texts] == ["90", "60 ±10", "10 ±5", "80", "50", "20"]


@pytest.mark.parametrize(
    "other", [OTHER._replace(train_images=np.array([9.0, 3.0, 0.0])), ClassCurve(*(x[:2] for x in OTHER))]
)
def test_other_sizes_and_other_tasks_get_a_map_of_their_own(other):
    figure = draw_classes([("a", [CURVE, CURVE]), ("b", [other, OTHER]), ("c", [OTHER, OTHER])])
    rows = [[text.get_text() for text in axes.get_yticklabels()] for axes in maps(figure)]
    assert sorted(rows) == [["a", "b", "c"], ["a", "c"], ["b"]]
    assert {axes.get_title(loc="left") for axes in figure.axes} == {"task 1", "task 2", ""}


def test_many_classes_are_not_named():
    count = MOST_NAMED + 1
    curve = ClassCurve(np.arange(count), np.full(count, 5.0), np.full(count, 0.5), np.zeros(count))
    (axes,) = maps(draw_classes([("a", [curve])]))
    assert axes.get_xticklabels() == [] and not axes.texts


def test_confusion_is_in_per_cent_of_the_true_class():
    confusion = np.array([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    (axes, _) = draw_confusion(confusion, "abcd").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), [[75, 25], [0, 100]])
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_a_class_that_is_only_predicted_has_an_empty_row():
    (axes, _) = draw_confusion(np.array([[0, 0], [1, 1]]), "ab").axes
    assert np.ma.getmaskarray(axes.images[0].get_array()).tolist() == [[True, True], [False, False]]


LAYERS = {"stem": LayerSize(8, 4, 2000), "sum": LayerSize(None, 4, 0), "classifier": LayerSize(32, 32, 500)}


def test_layers_have_their_bits_and_their_bytes():
    bits, size = draw_layer_sizes(LAYERS).axes
    weights, activations = (line.get_xydata() for line in bits.lines)
    np.testing.assert_array_equal(weights, [[8, 0], [np.nan, 1], [32, 2]])
    np.testing.assert_array_equal(activations, [[4, 0], [4, 1], [32, 2]])
    assert [label.get_text() for label in bits.get_yticklabels()] == list(LAYERS) and bits.yaxis_inverted()
    assert [bar.get_width() for bar in size.patches] == [2.0, 0.0, 2.0]


def test_an_activation_quantizer_is_shown_with_the_weights_before_it():
    pairs = {"a/conv": LayerSize(8, None, 9), "a/act": LayerSize(None, 4, 0), "sum": LayerSize(None, 4, 0)}
    two = {"b/c/x": LayerSize(2, None, 1), "b/c/y": LayerSize(3, None, 1)}
    assert units(pairs | two) == {"a": LayerSize(8, 4, 9), "sum": LayerSize(None, 4, 0)} | two


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
