"""The end of a task: what the method leaves is evaluated, kept and trained on, after the last task too."""

import jax
import numpy as np

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.train import tasks
from lifeq_jax.train.run import latest_weights, run_recipe


def test_imm_merges_after_every_task_and_the_merged_network_is_kept(recipe, changed, tmp_path, monkeypatch):
    ends, conclude = [], tasks.conclude

    def spy(run, saved, place):
        state = conclude(run, saved, place)
        ends.append(jax.device_get((saved.state.params, state.params, state.method_state[0])))
        return state

    monkeypatch.setattr(tasks, "conclude", spy)
    stages = (Stage("float", 32, 32, 1, 0.1, tasks=2),)
    small = changed(recipe, stages=stages, model=Part("mlp", {"hidden": 8}), method=Part("imm"))
    run_recipe(small, tmp_path / "run", log=lambda line: None)
    assert [int(mode.tasks) for _, _, mode in ends] == [1, 2]
    for _, params, mode in ends:
        jax.tree.map(np.testing.assert_array_equal, params, mode.merged.params)
    trained, merged, _ = ends[-1]
    assert any(np.any(old != new) for old, new in zip(*map(jax.tree.leaves, (trained, merged)), strict=True))
    jax.tree.map(np.testing.assert_array_equal, latest_weights(tmp_path / "run")[0], merged)
