"""metrics.csv and weight_distance.csv come back unchanged, old ones too, and damaged ones are refused in one line."""

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.history import read_distances, read_history, read_rows
from lifeq_jax.report.oscillation import distance_ends
from lifeq_jax.report.runs import read_run
from tests.report.folders import MATRIX, SHARES, add_oscillation, rewrite, write_run


@pytest.fixture
def old(tmp_path):
    """A run folder written before oscillations were tracked."""
    return write_run(tmp_path / "old")


@pytest.fixture
def tracked(tmp_path):
    return add_oscillation(write_run(tmp_path / "tracked"))


def test_history_by_hand(old):
    history = read_history(old / "metrics.csv")
    assert history.stage == ("float", "float", *["four"] * 6)
    assert history.task == (0, 0, 0, 0, 1, 1, 2, 2)
    assert np.isnan(history.accuracy[::2]).all()
    np.testing.assert_array_equal(history.accuracy[1::2], [MATRIX[0], *MATRIX])


def test_what_an_old_run_lacks_is_nan(old):
    history = read_history(old / "metrics.csv")
    assert history.running_accuracy.shape == (8, 3) and np.isnan(history.running_accuracy).all()
    assert history.oscillating.shape == history.frozen.shape == (8,)
    assert np.isnan([history.oscillating, history.frozen]).all()
    assert read_run(old).distances is None


def test_oscillation_by_hand(tracked):
    history = read_history(tracked / "metrics.csv")
    np.testing.assert_array_equal(history.oscillating, [np.nan] * 4 + SHARES["oscillating"])
    np.testing.assert_array_equal(history.frozen, [np.nan] * 4 + SHARES["frozen"])
    assert np.isnan(history.running_accuracy[::2]).all()
    np.testing.assert_allclose(history.running_accuracy[1::2], 0.75 * np.array([MATRIX[0], *MATRIX]))
    np.testing.assert_array_equal(history.accuracy[1::2], [MATRIX[0], *MATRIX])


def test_columns_may_stand_in_any_order(tracked):
    rewrite(tracked / "metrics.csv", lambda row: dict(reversed(row.items())))
    history = read_history(tracked / "metrics.csv")
    np.testing.assert_allclose(history.running_accuracy[1::2], 0.75 * history.accuracy[1::2])


def test_distances_by_hand(tracked):
    distances = read_run(tracked).distances
    assert distances.stage == ("float", "four", "four", "four")
    assert (distances.task, distances.epoch) == ((0, 0, 0, 0), (1, 1, 2, 3))
    expected = np.zeros((4, 20), int)
    expected[[0, 1, 2, 3], [5, 0, 7, 10]] = 8
    np.testing.assert_array_equal(distances.counts, expected)


def test_counts_are_exact(tracked):
    largest = 10**15 - 1
    rewrite(tracked / "weight_distance.csv", lambda row: row | {"bin_3": largest})
    assert read_distances(tracked / "weight_distance.csv").counts[:, 3].tolist() == [largest] * 4


def refusal_of(path, read, text):
    path.write_text(text)
    with pytest.raises(Refusal) as refused:
        read(path)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stage,accuracy_0\nfour,0.5\n", ": the header lacks task; it has stage, accuracy_0"),
        ("stage,task\nfour,0\n", ": the header lacks accuracy_0; it has stage, task"),
        ("stage,task,accuracy_0\nfour,first,0.5\n", ", row 1: task='first' is not a whole number"),
        ("stage,task,accuracy_0\nfour,-1,0.5\n", ", row 1: task='-1' is not a whole number"),
        ("stage,task,accuracy_0\nfour,0,2\n", ", row 1: accuracy_0='2' is not a share from 0 to 1"),
        ("stage,task,accuracy_0\nfour,0,0.5,1\n", ", row 1: 4 values under 3 headings"),
        (
            "stage,task,accuracy_0,oscillating\nfour,0,0.5,0.1\nfour,0,0.5,-0.1\n",
            ", row 2: oscillating='-0.1' is not a share from 0 to 1",
        ),
        ("stage,task,accuracy_0,frozen\nfour,0,0.5,many\n", ", row 1: frozen='many' is not a number"),
        (
            "stage,task,accuracy_0,running_accuracy_0\nfour,0,0.5,91\n",
            ", row 1: running_accuracy_0='91' is not a share from 0 to 1",
        ),
        (
            "stage,task,accuracy_0,accuracy_1,running_accuracy_0\nfour,0,0.5,0.5,0.5\n",
            ": the header lacks running_accuracy_1; it has stage, task, accuracy_0, accuracy_1, running_accuracy_0",
        ),
        ("", " has no rows"),
        ("stage,task,accuracy_0\n", " has no rows"),
    ],
)
def test_refuses_metrics(tmp_path, text, line):
    assert refusal_of(tmp_path / "metrics.csv", read_history, text) == line


def test_distances_of_a_run_that_tracked_nothing(tracked):
    (tracked / "weight_distance.csv").write_text(f"{HEADER}\n")
    run = read_run(tracked)
    assert run.distances.stage == () and run.distances.counts.shape == (0, 20)
    assert distance_ends(group_runs([run])[0]) is None


HEADER = "stage,task,epoch," + ",".join(f"bin_{number}" for number in range(20))
ZEROS = ",0" * 20


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", " has no rows"),
        (f"{HEADER},bin_20\n", f": the header is {HEADER},bin_20; it must be stage,task,epoch,bin_0,...,bin_19"),
        (f"{HEADER}\nfour,0,1{ZEROS},0\n", ", row 1: 24 values under 23 headings"),
        (f"{HEADER}\nfour,0,1{ZEROS}\nfour,0,x{ZEROS}\n", ", row 2: epoch='x' is not a whole number"),
        (f"{HEADER}\nfour,,1{ZEROS}\n", ", row 1: task='' is not a whole number"),
        (f"{HEADER}\nfour,0,1{',0.5' + ZEROS[2:]}\n", ", row 1: bin_0='0.5' is not a whole number"),
        (f"{HEADER}\nfour,0,1{ZEROS[2:]},{10**15}\n", f", row 1: bin_19='{10**15}' is not a whole number"),
        (
            "stage,task,bin_0\nfour,0,1\n",
            ": the header is stage,task,bin_0; it must be stage,task,epoch,bin_0,...,bin_19",
        ),
    ],
)
def test_refuses_distances(tmp_path, text, line):
    assert refusal_of(tmp_path / "weight_distance.csv", read_distances, text) == line


def test_refuses_distances_that_are_not_text(tracked):
    (tracked / "weight_distance.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match=r"weight_distance\.csv is not CSV: "):
        read_run(tracked)


def test_refuses_rows_of_no_file(tmp_path):
    with pytest.raises(Refusal, match=r"none\.csv does not exist; .* is not a finished run"):
        read_rows(tmp_path / "none.csv")
