"""The plot of frozen bits: its numbers are read back from the figure."""

import numpy as np

from lifeq_jax.report.layer_plots import LINES_OF_A_COLUMN, draw_bits


def many(number):
    return {f"blocks_{layer}/conv": np.arange(3.0) + layer for layer in range(number)}


def test_a_line_for_each_layer():
    bits = {"stem/dense": np.array([1.0, 3.0, 8.0]), "blocks_0/dense": np.array([2.0, 4.0, 6.0])}
    figure = draw_bits(bits)
    (axes,) = figure.axes
    for line, values in zip(axes.lines, bits.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([np.arange(3), values], axis=1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(bits)
    assert axes.get_xticks().tolist() == [0, 1, 2] and axes.get_ylim()[0] == 0


def test_no_two_of_many_layers_look_alike():
    lines = draw_bits(many(54)).axes[0].lines
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 54


def test_the_legend_of_many_layers_has_columns_and_fits():
    for number in (1, LINES_OF_A_COLUMN, LINES_OF_A_COLUMN + 1, 54):
        figure = draw_bits(many(number))
        figure.draw_without_rendering()
        legend = figure.legends[0]
        assert legend._ncols == -(-number // LINES_OF_A_COLUMN)
        drawn = legend.get_window_extent()
        assert drawn.y0 >= 0 and drawn.y1 <= figure.bbox.height
        assert drawn.x1 <= figure.bbox.width and drawn.x0 >= figure.axes[0].bbox.x1
