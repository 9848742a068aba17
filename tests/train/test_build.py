"""Names to objects: arguments are completed and refused by name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.methods import METHODS
from lifeq_jax.train.build import TABLES, build_stage, complete
from lifeq_jax.train.run import run_recipe
from tests.methods.trainer import start
from tests.train.jobs import world_of


def test_complete_writes_out_every_default_and_changes_nothing_twice(recipe):
    full = complete(recipe)
    assert full.method.args["strength"] == 1.0
    assert {"fisher", "loss", "prox", "space"} <= set(full.method.args)
    assert full.weight_quantizer.args == {"range_": 2.0, "levels": "exact"}
    assert complete(full) == full


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_builds_from_its_defaults(recipe, name):
    full = complete(dataclasses.replace(recipe, method=Part(name)))
    built = build_stage(full, full.stages[-1])
    params, _ = built.network.init(0)
    assert float(built.method.penalty(built.method.init(start(params)), params, built.network.quantize(params))) == 0.0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"loss": Part("mse")}, "recipe.loss.name='mse' is unknown; choose from balanced_softmax, ball_log_prior"),
        ({"loss": Part("focal", {"beta": 1.0})}, "recipe.loss.args.beta=1.0 is no argument of 'focal'; it takes: "),
        ({"method": Part("gem")}, "recipe.method.name='gem' is unknown; choose from agem, blip"),
        ({"model": Part("vgg")}, "recipe.model.name='vgg' is unknown; choose from alexnet_32"),
        ({"weight_quantizer": Part("x")}, "recipe.weight_quantizer.name='x' is unknown; choose from activation"),
        ({"method": Part("ewc", {"lam": 1.0})}, "recipe.method.args.lam=1.0 is no argument of 'ewc'; it takes: decay"),
        ({"method": Part("finetune", {"lam": 1.0})}, "is no argument of 'finetune'; it takes: none"),
        ({"method": Part("ewc", {"strength": "a"})}, "recipe.method.args.strength='a' is not of type float"),
    ],
)
def test_refusals(recipe, fields, text):
    with pytest.raises(Refusal) as caught:
        complete(dataclasses.replace(recipe, **fields))
    assert text in str(caught.value)


def test_tables_name_fields_of_a_recipe(recipe):
    assert set(TABLES) <= {field.name for field in dataclasses.fields(recipe)}


def test_task_rows_hold_replay_of_the_tasks_before_and_never_test_images(recipe):
    world = world_of(recipe)
    shown = [set(rows.score.index) for rows in world.tasks]
    for number, rows in enumerate(world.tasks):
        replayed = rows.train.is_replay
        assert set(rows.train.task[replayed]) == set(range(number))
        assert set(rows.train.task[~replayed]) == {number}
        assert not (set(rows.train.index) | set(rows.memory.index)) & set().union(*shown)
        assert rows.counts.sum() == len(rows.train.label)


def test_validation_images_are_in_no_training_rows(recipe, changed):
    held = complete(changed(recipe, {"validation": 0.2, "evaluate_on": "validation"}))
    world = world_of(held)
    validation = set().union(*(rows.validation.index for rows in world.tasks))
    assert validation
    for rows in world.tasks:
        assert not validation & (set(rows.train.index) | set(rows.memory.index))
        assert set(rows.score.index) <= validation


def test_without_replay_a_task_trains_on_its_own_rows(recipe, changed):
    world = world_of(changed(recipe, {"replay": False}, method=Part("ewc")))
    assert not any(rows.train.is_replay.any() for rows in world.tasks)
    assert [len(rows.memory.index) for rows in world.tasks] == [len(rows.train.index) for rows in world.tasks]


def test_a_missing_image_root_is_refused(recipe, changed):
    with pytest.raises(Refusal, match="data.root='nowhere' is not a folder"):
        world_of(changed(recipe, {"root": "nowhere"}))


def test_quantized_leaves_are_the_kernels_of_convolutions(recipe):
    full = complete(recipe)
    float_stage, low_bits = (build_stage(full, stage).network for stage in full.stages)
    assert not any(jax.tree.leaves(float_stage.quantized))
    marked = {name for name, is_quantized in named_leaves(low_bits.quantized).items() if is_quantized}
    assert marked and all(name.endswith("/kernel") and "logit" not in name for name in marked)
    params, _ = low_bits.init(0)
    weights = named_leaves(low_bits.quantize(params))
    for name in marked:
        assert len(np.unique(np.asarray(weights[name]))) <= 16


def test_gradients_are_clipped_where_the_recipe_says_so(recipe):
    optimizer = dataclasses.replace(recipe.optimizer, max_norm=2.0, momentum=0.0, weight_decay=0.0)
    full = complete(dataclasses.replace(recipe, optimizer=optimizer, method=Part("finetune")))
    built = build_stage(full, full.stages[0])
    params, _ = built.network.init(0)
    extra = dict(
        progress=jnp.zeros(()), method_state=built.method.init(start(params)), quantized=built.network.quantized
    )
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = jax.jit(lambda: built.optimizer.update(ones, built.optimizer.init(params), params, **extra))()
    np.testing.assert_allclose(optax.tree.norm(updates), 2.0 * full.stages[0].learning_rate, rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"batch_size": 2000}, r"task 0 has \d+ training images, at least 2000 are needed \(data.batch_size\)"),
        ({"validation": 1e-9, "evaluate_on": "validation"}, "task 0 has 0 validation images, at least 1 are needed"),
    ],
)
def test_too_few_images_are_refused_before_training(recipe, changed, data, text):
    with pytest.raises(Refusal, match=text):
        world_of(changed(recipe, data))


@pytest.mark.parametrize("selection", ["best", "lowest_loss"])
def test_a_selection_with_nothing_held_out_is_refused_before_training(recipe, changed, tmp_path, selection):
    chosen = changed(recipe, {"validation": 1e-9}, selection=selection)
    with pytest.raises(Refusal, match=r"task 0 has 0 validation images, .* \(data.validation, which recipe.selection"):
        run_recipe(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()
