"""Oscillation control inside real runs: LifeQuant's lifelong recipe with freezing, killed, resumed, checked code by
code; batch-norm re-estimation before evaluation and before the checkpoint."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.methods.base import StageStart
from lifeq_jax.models.loading import load_float
from lifeq_jax.quant.codes import kernel_codes
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.loop import Place, augmented_images
from lifeq_jax.train.run import run_recipe
from lifeq_jax.train.stage import step_of
from lifeq_jax.train.step import fresh_state
from tests.train.jobs import world_of
from tests.train.killed_runs import checkpointed, latest_weights, metrics, train_killed
from tests.train.test_step import batch_of

FREEZE = Part("freeze", {"threshold": 0.05, "threshold_end": 0.02, "start": 0.1, "momentum": 0.1})


@pytest.fixture(scope="module")
def frozen_recipe(recipe, changed):
    """The tiny lifelong LifeQuant recipe with freezing and re-estimation; only its 4-bit stage is tracked."""
    return changed(recipe, {"batch_size": 8}, oscillation=FREEZE, reestimation_batches=2)


@pytest.fixture(scope="module")
def finished(frozen_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "frozen"
    run_recipe(frozen_recipe, folder, log=lambda line: None)
    return folder


def test_weights_freeze_and_the_run_says_how_many(finished):
    rows = metrics(finished)
    assert [row["frozen"] for row in rows[:2]] == ["", ""]  # nothing is quantized in the float stage
    shares = [(float(row["oscillating"]), float(row["frozen"])) for row in rows[2:]]
    assert all(0 <= share <= 1 for pair in shares for share in pair)
    assert all(shares[task * 2 + 1][1] > 0 for task in range(3))
    with (finished / "weight_distance.csv").open(newline="") as file:
        distances = list(csv.DictReader(file))
    assert [(row["task"], row["epoch"]) for row in distances] == [(row["task"], row["epoch"]) for row in rows[2:]]
    kernels = [leaf.size for name, leaf in named_leaves(latest_weights(finished)[0]).items() if leaf.ndim == 4]
    for row in distances:
        assert sum(int(row[f"bin_{bin}"]) for bin in range(20)) == sum(kernels)


@pytest.mark.exact
def test_a_killed_run_resumes_with_its_frozen_masks(finished, frozen_recipe, tmp_path):
    folder = tmp_path / "run"
    assert train_killed(frozen_recipe, folder, "save", "8") == -9
    run_recipe(frozen_recipe, folder, log=lambda line: None)
    whole, resumed = checkpointed(finished, "w4a4"), checkpointed(folder, "w4a4")
    assert whole.keys() == resumed.keys()
    frozen = [name for name in whole if name.endswith("frozen")]
    assert frozen and any(whole[name].any() for name in frozen)
    for name, leaf in whole.items():
        np.testing.assert_array_equal(resumed[name], leaf, err_msg=name)
    assert metrics(folder) == metrics(finished)
    assert (folder / "weight_distance.csv").read_text() == (finished / "weight_distance.csv").read_text()


# every quantizer under both methods: tests/methods/test_oscillation.py
@pytest.mark.parametrize(
    ("quantizer", "method"),
    [
        ("proxq", "lifequant"),
        ("lsq", "lifequant"),
        ("lsq", "finetune"),
        ("minmax", "lifequant"),
        ("dorefa", "finetune"),
    ],
)
def test_a_frozen_code_never_moves_within_a_task(recipe, changed, quantizer, method):
    args = {"proxq": {"range_": 2.0}}.get(quantizer, {})
    recipe = complete(changed(recipe, weight_quantizer=Part(quantizer, args), method=Part(method), oscillation=FREEZE))
    built = build_stage(recipe, Stage("w3a3", 3, 3, 1, 0.3))
    params, batch_stats = built.network.init(0)
    params = calibrate(built.network.observe_ranges, params, batch_stats, [batch_of(32).image])
    start = StageStart(params, 1, 10)
    state = fresh_state(built.method, built.optimizer, start, batch_stats, jnp.arange(1.0, 11.0), num_steps=40)
    step = jax.jit(step_of(built))
    integers = jax.jit(lambda params: kernel_codes(built.network.table, params))
    frozen, total = {}, 0
    for number in range(40):
        state, _ = step(state, batch_of(32, number), key_for(0, number))
        now = integers(state.params)
        for name, (mask, held) in frozen.items():
            np.testing.assert_array_equal(np.asarray(now[name].values)[mask], held[mask], err_msg=f"{name} at {number}")
        tracks = state.method_state[-1].tracks
        frozen = {name: (np.asarray(track.frozen), np.asarray(track.held)) for name, track in tracks.items()}
        assert sum(mask.sum() for mask, _ in frozen.values()) >= total
        total = sum(mask.sum() for mask, _ in frozen.values())
    assert total > 20


def test_the_checkpoint_holds_the_reestimated_statistics(finished, frozen_recipe):
    recipe = complete(frozen_recipe)
    world, stage = world_of(recipe), recipe.stages[-1]
    network = build_stage(recipe, stage).network
    params, batch_stats = latest_weights(finished)
    place = Place(recipe.seed, 1, 2, stage.epochs - 1)
    images = list(augmented_images(world.input.assemble, world, place, 2))
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *(network.moments(params, image) for image in images))
    for name, leaf in named_leaves(load_float(expected, batch_stats)).items():
        np.testing.assert_allclose(named_leaves(batch_stats)[name], leaf, rtol=1e-4, atol=1e-5, err_msg=name)


def test_accuracy_with_the_running_statistics_is_kept_at_the_end_of_a_task(finished):
    rows = metrics(finished)
    ends = [row for row in rows if row["epoch"] == "2"]
    assert all(row["running_accuracy_0"] == "" for row in rows if row["epoch"] == "1")
    assert all(0 <= float(row["running_accuracy_0"]) <= 1 for row in ends)
    assert any(row["running_accuracy_0"] != row["accuracy_0"] for row in ends)
