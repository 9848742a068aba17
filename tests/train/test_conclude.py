"""The end of a task: what the method leaves is evaluated, kept and trained on, after the last task too."""

import jax
import numpy as np

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.keys import Stream, key_for
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent
from tests.train.killed_runs import latest_weights


def test_imm_merges_after_every_task_and_the_merged_network_is_kept(recipe, changed, tmp_path):
    ends = []

    def watch(moment):
        if moment.kind == "task":
            ends.append(jax.device_get(moment.state))

    stages = (Stage("float", 32, 32, 1, 0.1, tasks=2),)
    small = changed(recipe, stages=stages, model=Part("mlp", {"hidden": 8}), method=Part("imm"))
    run_recipe(small, tmp_path / "run", silent, watch)
    modes = [state.method_state[0] for state in ends]
    first, second = (sum(map(np.sum, jax.tree.leaves(mode.merged.importance))) for mode in modes)
    assert 0 < first < second
    for state, mode in zip(ends, modes, strict=True):
        jax.tree.map(np.testing.assert_array_equal, state.params, mode.merged.params)
    jax.tree.map(np.testing.assert_array_equal, latest_weights(tmp_path / "run")[0], ends[-1].params)
    run_recipe(changed(small, method=Part("finetune")), tmp_path / "alone", silent, watch)
    alone = ends[-1].params  # what training alone gives in the second task
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (alone, ends[1].params)), strict=True))


def test_a_methods_key_belongs_to_its_task_and_to_no_training_step(recipe, changed, tmp_path, monkeypatch):
    keys = []

    def end_task(state, task):
        keys.append(task.key)
        return state

    monkeypatch.setitem(METHODS, "finetune", lambda: Method(end_task=end_task, concludes=True))
    stages = (Stage("first", 32, 32, 1, 0.1, tasks=1), Stage("second", 32, 32, 1, 0.1, tasks=2))
    method = Part("finetune")
    small = changed(recipe, stages=stages, model=Part("mlp", {"hidden": 8}), method=method, seed=5)
    run_recipe(small, tmp_path / "run", silent)
    expected = [key_for(5, *place, stream=Stream.METHOD) for place in ((0, 0), (1, 0), (1, 1))]
    assert list(map(str, map(jax.random.key_data, keys))) == list(map(str, map(jax.random.key_data, expected)))
