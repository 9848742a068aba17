"""The step: pure, averaged over devices, and one trace for all tasks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import jax_utils

from lifeq_jax.core.config import Part
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import Batch
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.stage import step_of
from lifeq_jax.train.step import NEVER_BAD, Objective, add_totals, zero_totals
from tests.train.jobs import state_of

BATCH = 16


def batch_of(size: int, seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    return Batch(
        image=jnp.asarray(random.normal(size=(size, 8, 8, 1)), jnp.float32),
        label=jnp.asarray(random.integers(10, size=size), jnp.int32),
        weight=jnp.ones(size),
        task=jnp.zeros(size, jnp.int32),
        is_replay=jnp.zeros(size, bool),
        index=jnp.arange(size, dtype=jnp.int32),
    )


CONTROLLED = {"weight_quantizer": Part("lsq"), "oscillation": Part("freeze", {"threshold": 0.1, "threshold_end": 0.1})}


def job(recipe, method: str, axis_name: str | None = None):
    fields = CONTROLLED if method == "frozen lsq" else {"method": Part(method)}
    recipe = complete(dataclasses.replace(recipe, **fields))
    built = build_stage(recipe, recipe.stages[-1], axis_name)
    return step_of(built, axis_name), state_of(built)


# every method on several devices, without batch norm: test_mesh.py
@pytest.mark.parametrize("method", ["lifequant", "frozen lsq"])
def test_pmap_over_four_devices_equals_one(recipe, method):
    batch, key = batch_of(BATCH), key_for(0)
    step, state = job(recipe, method)
    single, single_totals = jax.jit(step)(state, batch, key)
    step, state = job(recipe, method, axis_name="devices")
    shards = jax.tree.map(lambda leaf: leaf.reshape(4, BATCH // 4, *leaf.shape[1:]), batch)
    parallel = jax.pmap(step, axis_name="devices", in_axes=(0, 0, None))
    many, many_totals = parallel(jax_utils.replicate(state), shards, key)
    many, many_totals = jax_utils.unreplicate((many, many_totals))
    assert float(many_totals.counts.correct) == float(single_totals.counts.correct)
    assert float(many_totals.counts.total) == BATCH
    np.testing.assert_allclose(many_totals.loss, single_totals.loss, rtol=1e-5)
    other = named_leaves(many._asdict())
    for name, leaf in named_leaves(single._asdict()).items():
        np.testing.assert_allclose(other[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)


def test_step_is_pure_and_learns(recipe, changed):
    step, state = job(changed(recipe, model=Part("resnet8", {"width": 4})), "lifequant")
    step, batch = jax.jit(step), batch_of(BATCH)
    once, _ = step(state, batch, key_for(0))
    again, _ = step(state, batch, key_for(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), once, again))
    totals = []
    for number in range(30):
        state, total = step(state._replace(step=jnp.zeros((), jnp.int32)), batch, key_for(0, number))
        totals.append(float(total.loss))
    assert totals[-1] < 0.3 * totals[0]


def test_rows_of_weight_zero_change_nothing_in_the_loss(recipe):
    step, state = job(recipe, "finetune")
    batch = batch_of(BATCH)
    half = batch._replace(weight=batch.weight.at[BATCH // 2 :].set(0.0))
    wrong = half._replace(label=half.label.at[BATCH // 2 :].add(1) % 10)
    totals = [jax.jit(step)(state, b, key_for(0))[1] for b in (half, wrong)]
    assert float(totals[0].loss) == float(totals[1].loss)
    assert float(totals[0].counts.total) == BATCH // 2


def test_totals_remember_the_first_bad_step():
    none = zero_totals(Objective(None, tuple))
    first, second = (none._replace(first_bad=jnp.array(step, jnp.int32)) for step in (7, 5))
    assert int(add_totals(first, none).first_bad) == 7
    assert int(add_totals(first, second).first_bad) == 5
    assert int(add_totals(none, none).first_bad) == NEVER_BAD


CLIMBQ = {"weight_quantizer": Part("cdf"), "loss": Part("homovar")}


def test_activations_and_loss_see_the_classes_of_the_whole_batch(recipe):
    batch, key = batch_of(BATCH), key_for(0)
    batch = batch._replace(label=batch.label // 4)  # three classes: enough images of each to compare their spreads
    losses = {}
    for ratio in ("class", "none"):
        scaled = dataclasses.replace(recipe, **CLIMBQ, act_quantizer=Part("cdf_activation", {"ratio": ratio}))
        step, state = job(scaled, "finetune")
        losses[ratio] = jax.jit(step)(state, batch, key)[1].loss
        step, state = job(scaled, "finetune", axis_name="devices")
        shards = jax.tree.map(lambda leaf: leaf.reshape(4, BATCH // 4, *leaf.shape[1:]), batch)
        parallel = jax.pmap(step, axis_name="devices", in_axes=(0, 0, None))
        _, totals = parallel(jax_utils.replicate(state), shards, key)
        np.testing.assert_allclose(totals.loss, np.full(4, losses[ratio]), rtol=1e-4)
    assert abs(float(losses["class"] - losses["none"])) > 1e-3 * float(losses["none"])


def test_dropout_draws_from_the_key_of_the_step(recipe, changed):
    sizes = {"image": (19, 19, 1), "crop": (19, 19)}
    full = complete(changed(recipe, sizes, model=Part("alexnet_32", {"mul": 0.05, "hidden": 16})))
    network = build_stage(full, full.stages[0]).network
    params, batch_stats = network.init(0)
    image, share = jnp.ones((2, 19, 19, 1)), jnp.ones(2)
    train = jax.jit(lambda key: network.train(params, batch_stats, image, share, key, False)[0].logits)
    first, again, other = (np.asarray(train(key_for(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
