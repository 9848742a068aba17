"""Runs whose methods need more than a penalty: replayed images by their numbers, and a float network as teacher."""

import jax
import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods.derpp import NOBODY
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, world_of
from tests.train.killed_runs import latest_weights

FLOAT, LOW = Stage("float", 32, 32, 1, 0.1, tasks=1), Stage("w4a4", 4, 4, 1, 0.1, tasks=2)
MLP = Part("mlp", {"hidden": 8})


def run(recipe, folder):
    """Trains; the state after each task and the row of metrics.csv that goes with it."""
    moments = []

    def watch(moment):
        if moment.kind == "task":
            moments.append((jax.device_get(moment.state), moment.row))

    run_recipe(recipe, folder, silent, watch)
    return moments


def test_derpp_keeps_the_logits_of_all_replayed_images(recipe, changed, tmp_path):
    small = changed(recipe, {"validation": 0.2}, model=MLP, stages=(LOW,), method=Part("derpp", {"alpha": 100.0}))
    world, moments = world_of(small), run(small, tmp_path / "run")
    kept = moments[0][0].method_state[0]
    wanted = sorted(world.tasks[0].memory.index)  # of task 0, so the key is the image
    np.testing.assert_array_equal(kept.key[kept.key < NOBODY], wanted)
    assert len(kept.key) == world.num_kept == world_of(changed(small, seed=1)).num_kept  # seeds train side by side
    assert len(wanted) < world.num_kept and world.num_rows > max(wanted)
    penalties = [row["penalty"] for _, row in moments]
    assert penalties[0] == 0.0 and abs(penalties[1]) > 0.01  # replayed images are known in the second task


@pytest.mark.parametrize("name", ["agem", "derpp", "er_ace"])
def test_without_replay_what_needs_it_is_refused(recipe, changed, name):
    plain = complete(changed(recipe, {"replay": False}, method=Part(name), importance_data="train"))
    with pytest.raises(Refusal, match=rf"recipe.method.name='{name}' needs replayed images \(data.replay=True\)"):
        build_stage(plain, plain.stages[-1])


def test_the_teacher_is_what_the_float_stage_ended_with_in_a_resumed_run_too(recipe, changed, tmp_path):
    small = changed(recipe, model=MLP, stages=(FLOAT, LOW), distillation=Part("from_float"), method=Part("er_ace"))
    folder = tmp_path / "run"

    class Stopped(Exception):
        pass

    def stop(moment):
        if moment.kind == "checkpoint":
            raise Stopped

    with pytest.raises(Stopped):
        run_recipe(small, folder, silent, stop)
    teacher, _ = latest_weights(folder, "float")
    moments = run(small, folder)
    assert [state.method_state[1] == () for state, _ in moments] == [False, False]  # the float stage was over
    for state, row in moments:
        jax.tree.map(np.testing.assert_array_equal, state.method_state[1].network.params, teacher)
        assert int(state.method_state[1].network.num_tasks) == 1
        assert row["penalty"] != 0.0


def test_start_weights_teach_where_there_is_no_float_stage(recipe, changed, tmp_path):
    floating = changed(recipe, model=MLP, stages=(FLOAT,), method=Part("finetune"))
    run_recipe(floating, tmp_path / "float", silent)
    teacher, _ = latest_weights(tmp_path / "float")
    low = changed(floating, stages=(LOW,), start=str(tmp_path / "float"), distillation=Part("from_float"))
    state, _ = run(low, tmp_path / "low")[0]
    jax.tree.map(np.testing.assert_array_equal, state.method_state[1].network.params, teacher)


def test_a_recipe_without_any_float_network_is_refused_before_anything_is_written(recipe, changed, tmp_path):
    low = changed(recipe, model=MLP, stages=(LOW,), distillation=Part("from_float"))
    with pytest.raises(Refusal, match="recipe.distillation.name='from_float' needs a float stage before 'w4a4', or"):
        run_recipe(low, tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()
