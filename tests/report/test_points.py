"""Pictures of one metric against one setting; of whole sweeps: tests/api/test_sweep.py."""

import pytest

from lifeq_jax.report.points import draw_points


def rows_of(places, kinds):
    return [{"place": place, "kind": kind, "accuracy": 0.5} for place in places for kind in kinds]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["../data/gamma 1", "../data/gamma 30"], ["gamma 1", "gamma 30"]),
        (["er_ace", "../my/er_ace.py:er_ace"], ["er_ace", "er_ace.py:er_ace"]),
        (["my/net.py:net(start=a/b)", "none"], ["net.py:net(start=a/b)", "none"]),
        (["one/digits", "two/digits"], ["one/digits", "two/digits"]),
        ([2, 4], ["2", "4"]),
    ],
)
def test_files_are_named_without_their_folders_where_that_tells_them_apart(values, shown):
    (axes,) = draw_points(rows_of(values, ["a"]), ["place", "kind"], "accuracy", "place", None, "%").axes
    ticks = [label.get_text().replace("\n", "") for label in axes.get_xticklabels()]
    figure = draw_points(rows_of(["a"], values), ["place", "kind"], "accuracy", "place", "kind", "%")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.replace(" ", "") for name in ticks] == [name.replace(" ", "") for name in legend]
    assert legend == shown
