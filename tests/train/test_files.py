"""Checkpoints come back as they were saved, and the newest two are kept."""

import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.checkpoint import WORST, Checkpoints, Progress

LAYERS, STAGES, MARKS = {"a/kernel": {"bits": 1.5}}, {"float": [0.5, 0.25]}, {"metrics.csv": [12, "ab"]}
PROGRESS = Progress(1, 0, False, [[0.5, 0.25]], [0.5, 0.2], LAYERS, WORST, 5, 1.0, STAGES, 1.5, 0.5, MARKS, [0.1])
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
