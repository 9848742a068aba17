"""Checkpoints and the other files of a run folder."""

import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.checkpoint import WORST, Checkpoints, Progress
from lifeq_jax.train.run_folder import Metrics, read_metrics, write_matrix, write_text

PROGRESS = Progress(1, 0, [[0.5, 0.25]], WORST, 5, 1.0, 1.5, 0.5, False)
NETWORK = {"params": {"layer": {"kernel": jnp.arange(6.0).reshape(2, 3)}}, "batch_stats": {"mean": jnp.ones(2)}}
TRAINING = {"state": {"step": jnp.array(3, jnp.int32), "method_state": (), "opt": (jnp.ones(2),)}, "best": ()}


def test_checkpoint_round_trip(tmp_path):
    checkpoints = Checkpoints(tmp_path / "stage")
    assert checkpoints.progress() is None
    checkpoints.save(NETWORK, TRAINING, PROGRESS)
    checkpoints.close()
    again = Checkpoints(tmp_path / "stage")
    assert again.progress() == PROGRESS
    np.testing.assert_array_equal(again.network()["params"]["layer"]["kernel"], NETWORK["params"]["layer"]["kernel"])
    assert int(again.training(TRAINING)["state"]["step"]) == 3
    assert again.training(TRAINING)["state"]["method_state"] == ()


def test_the_newest_two_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "stage")
    for epoch in range(4):
        checkpoints.save(NETWORK, TRAINING, PROGRESS._replace(epoch=epoch))
    assert checkpoints.progress().epoch == 3
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["3", "4"]


def test_another_structure_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path / "stage")
    checkpoints.save(NETWORK, TRAINING, PROGRESS)
    other = {**TRAINING, "state": {**TRAINING["state"], "opt": (jnp.ones(5),)}}
    with pytest.raises(Refusal, match=r"state/opt/0 is \(2,\) there and \(5,\) in the recipe"):
        checkpoints.training(other)


def test_an_empty_checkpoint_folder_is_refused(tmp_path):
    with pytest.raises(Refusal, match="holds no checkpoint"):
        Checkpoints(tmp_path / "stage").network()


def test_metrics_begin_drops_unwanted_and_torn_rows(tmp_path):
    metrics = Metrics(tmp_path, num_tasks=1)
    metrics.begin(lambda row: True)
    for epoch in (1, 2, 3):
        metrics.append({"stage": "a", "task": 0, "epoch": epoch, "loss": 0.5, "accuracy_0": 0.25})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("a,0,4,1")
    metrics.begin(lambda row: int(row["epoch"]) != 2)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "3"]
    assert rows[0]["accuracy_0"] == "0.25" and rows[0]["penalty"] == ""
    metrics.close()


def test_the_matrix_keeps_every_digit(tmp_path):
    matrix = np.array([[1 / 3, 0.1], [0.2, 2 / 3]])
    write_matrix(tmp_path, matrix)
    read = np.loadtxt(tmp_path / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    assert (read == matrix).all()


def test_write_text_replaces_whole(tmp_path):
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
