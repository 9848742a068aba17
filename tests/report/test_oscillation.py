"""Shares at the end, accuracy before and after re-estimation, distances: by hand."""

import numpy as np
import pytest

from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.oscillation import MEANINGS, at_end, distance_ends, is_tracked, reestimated
from lifeq_jax.report.runs import read_run
from tests.report.folders import MATRIX, add_oscillation, recipe, rewrite, write_run


@pytest.fixture
def make(tmp_path):
    """make(seed, **arguments of add_oscillation) -> a tracked run; make(seed, tracked=False): one without."""

    def make(seed=0, tracked=True, **kwargs):
        folder = write_run(tmp_path / str(seed), recipe(seed=seed))
        return read_run(add_oscillation(folder, **kwargs) if tracked else folder)

    return make


def test_at_end_by_hand(make):
    end = at_end(make(loss=0.5))
    assert end.keys() == MEANINGS.keys()
    assert end["accuracy_before_reestimation"] == pytest.approx((0.5 + 0.85 + 0.7) / 3 / 2)
    assert (end["oscillating"], end["frozen"]) == (0.002, 0.3)


def test_at_end_of_a_run_without_is_nan(make):
    assert np.isnan(list(at_end(make(tracked=False)).values())).all()


def test_tracked_if_any_seed_is(make):
    without, with_shares = make(0, tracked=False), make(1)
    assert not is_tracked(group_runs([without])[0])
    assert is_tracked(group_runs([without, with_shares])[0])


def test_reestimated_is_the_mean_of_the_tasks_seen(make):
    expected = {
        ("float", 0): MATRIX[0][0],
        ("four", 0): MATRIX[0][0],
        ("four", 1): (0.95 + 0.8) / 2,
        ("four", 2): (0.5 + 0.85 + 0.7) / 3,
    }
    found = reestimated(make())
    assert list(found) == list(expected)
    for place, after in expected.items():
        np.testing.assert_allclose(found[place], (0.75 * after, after))


def test_reestimated_needs_the_last_row_of_a_task(tmp_path):
    folder = add_oscillation(write_run(tmp_path / "run"))

    def drop(row):
        ends = row["stage"] == "four" and row["task"] == "1"
        return row | ({"running_accuracy_0": ""} if ends else {})

    rewrite(folder / "metrics.csv", drop)
    assert list(reestimated(read_run(folder))) == [("float", 0), ("four", 0), ("four", 2)]


def test_nothing_was_reestimated(make):
    assert reestimated(make(tracked=False)) == {}


def test_distances_are_of_the_last_stage_and_averaged(make):
    ends = distance_ends(group_runs([make(0, first=2), make(1, first=19)])[0])
    np.testing.assert_array_equal(ends.first, 0.5 * (np.eye(20)[2] + np.eye(20)[19]))
    np.testing.assert_array_equal(ends.last, np.eye(20)[10])
    assert ends.labels == ("task 0, epoch 1", "task 0, epoch 3")


def test_rows_that_count_nothing_are_passed_over(tmp_path):
    folder = add_oscillation(write_run(tmp_path / "run"))
    empty = {f"bin_{number}": 0 for number in range(20)}
    rewrite(folder / "weight_distance.csv", lambda row: row | (empty if row["epoch"] in ("1", "3") else {}))
    ends = distance_ends(group_runs([read_run(folder)])[0])
    np.testing.assert_array_equal([ends.first, ends.last], [np.eye(20)[7]] * 2)
    assert ends.labels == ("task 0, epoch 2", "task 0, epoch 2")


def test_no_distances(make, tmp_path):
    assert distance_ends(group_runs([make(tracked=False)])[0]) is None
    folder = add_oscillation(write_run(tmp_path / "float"))
    rewrite(folder / "weight_distance.csv", lambda row: row | {"stage": "float"})
    assert distance_ends(group_runs([read_run(folder)])[0]) is None
