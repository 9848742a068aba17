"""bfloat16 in a whole network and a whole run: what it may change, and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.config import Part, Recipe, Stage
from lifeq_jax.core.keys import key_for
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.stage import step_of
from tests.train.jobs import state_of
from tests.train.test_step import batch_of

BITS = 4


@pytest.fixture(scope="module")
def built(recipe, changed):
    """precision -> (recipe, the objects of its 4-bit stage)."""
    recipes = {name: complete(changed(recipe, precision=name)) for name in ("float32", "bfloat16")}
    return {name: (one, build_stage(one, one.stages[-1])) for name, one in recipes.items()}


def test_a_float32_recipe_has_no_trace_of_it(built, recipe):
    assert recipe.precision == "float32"
    _, stage = built["float32"]
    text = str(jax.make_jaxpr(step_of(stage))(state_of(stage), batch_of(32), key_for(0)))
    assert "reduce_precision" not in text and "bf16" not in text


def test_outputs_differ_a_little_and_codes_of_weights_not_at_all(built):
    params, batch_stats = built["float32"][1].network.init(0)
    image = batch_of(32).image
    found = {
        name: jax.jit(stage.network.evaluate_weights)(params, image, batch_stats) for name, (_, stage) in built.items()
    }
    apart = jnp.abs(found["bfloat16"].feature - found["float32"].feature)
    assert float(jnp.max(apart)) > 0 and float(jnp.linalg.norm(apart) / jnp.linalg.norm(found["float32"].feature)) < 0.1
    weights = [named_leaves(jax.jit(stage.network.quantize)(params)) for _, stage in built.values()]
    for name, leaf in weights[0].items():
        np.testing.assert_array_equal(leaf, weights[1][name], err_msg=name)


def test_a_step_keeps_all_that_it_keeps_in_float32(built):
    _, stage = built["bfloat16"]
    before = state_of(stage)
    after, totals = jax.jit(step_of(stage))(before, batch_of(32), key_for(0))
    kept = jax.tree.map(lambda leaf: leaf.dtype, before)
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == kept
    assert jnp.bfloat16 not in jax.tree.leaves(kept) and totals.loss.dtype == jnp.float32
    moved = named_leaves(after.params)["stem/conv/kernel"]
    assert float(jnp.max(jnp.abs(moved - moved.astype(jnp.bfloat16).astype(jnp.float32)))) > 0


def test_digits_end_within_the_spread_of_seeds(recipe, changed, digits, tmp_path):
    stages = (Stage("float", 32, 32, 4, 0.1, tasks=1), Stage("w4a4", BITS, BITS, 4, 0.05, tasks=1))
    accuracy, whole = {}, {"csv": str(digits / "tasks")}
    for name in ("float32", "bfloat16"):
        fields = dict(precision=name, model=Part("mlp", {"hidden": 32}), method=Part("finetune"), evaluate_every=0)
        summary = run_seeds(
            changed(recipe, whole, stages=stages, **fields), (0, 1, 2), tmp_path / name, lambda line: None
        )
        accuracy[name] = summary["metrics"]["average_accuracy"]
    assert accuracy["bfloat16"]["mean"] > 0.8
    assert abs(accuracy["bfloat16"]["mean"] - accuracy["float32"]["mean"]) < accuracy["float32"]["std"]


def test_another_type_is_refused(recipe, changed):
    with pytest.raises(Refusal, match="precision='float16' is not of type .*bfloat16"):
        changed(recipe, precision="float16")
    assert Recipe.__dataclass_fields__["precision"].default == "float32"
