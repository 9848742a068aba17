"""What a method sees when a task ends: the network's own squared gradients, and rows drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import Batch
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods import importance
from lifeq_jax.methods.base import Method, no_squares
from lifeq_jax.methods.importance import FISHERS, Probe, estimator, mean
from lifeq_jax.methods.penalty import probe_of
from lifeq_jax.train.build import build_network, complete
from lifeq_jax.train.loop import Place
from lifeq_jax.train.stage import Saved, Seed, compile_stage
from lifeq_jax.train.task_end import conclude
from tests.train.jobs import silent, state_of, world_of

CROSS_ENTROPY = LOSSES["cross_entropy"]()


def batch_of(size, padding=0):
    random = np.random.default_rng(0)
    zeros = jnp.zeros(size, jnp.int32)
    head = np.arange(size)[:, None] % 2  # outputs 0 to 4, or 5 to 9
    return Batch(
        image=jnp.asarray(random.normal(size=(size, 8, 8, 1)), jnp.float32),
        label=jnp.asarray(5 * head[:, 0] + random.integers(5, size=size), jnp.int32),
        weight=jnp.asarray(np.arange(size) < size - padding, jnp.float32),
        task=zeros,
        is_replay=zeros > 0,
        index=jnp.arange(size, dtype=jnp.int32),
        classes=jnp.asarray(np.arange(10)[None] // 5 == head),
    )


def probe_at(network, quantized):
    """At the quantized weights, or at the latent parameters."""
    params, stats = network.init(0)
    found = (network.evaluate_weights, network.squares_weights) if quantized else (network.evaluate, network.squares)
    apply, squares = (Partial(function, batch_stats=stats) for function in found)
    point = network.quantize(params) if quantized else params
    return Probe(apply, Partial(network.head), point, jnp.arange(1.0, 11.0), jnp.ones(()), squares)


def estimate(contribution, probe, batch, key=3):
    return mean(estimator(contribution)(probe, [batch], jax.random.key(key)))


def close(found, expected):
    found, expected = named_leaves(found), named_leaves(expected)
    assert max(float(jnp.max(leaf)) for leaf in expected.values()) > 0
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-5 * float(jnp.max(leaf)), err_msg=name)


@pytest.mark.parametrize(
    ("fisher", "loss", "quantized"),
    [("sampled", "cross_entropy", False), ("empirical", "homovar", False), ("sampled", "cross_entropy", True)],
)
def test_layer_by_layer_equals_one_by_one(recipe, monkeypatch, fisher, loss, quantized):
    probe = probe_at(build_network(complete(recipe), recipe.stages[int(quantized)]), quantized)
    contribution, batch = FISHERS[fisher](LOSSES[loss]()), batch_of(8, padding=3)
    expected = estimate(contribution, probe._replace(squares=Partial(no_squares)), batch)
    monkeypatch.setattr(importance, "_one_by_one", None)  # not needed any more
    close(estimate(contribution, probe, batch), expected)


def test_latent_parameters_of_low_bits_take_one_gradient_an_example(recipe, monkeypatch):
    network = build_network(complete(recipe), recipe.stages[1])
    probe, batch = probe_at(network, quantized=False), batch_of(4)
    assert probe.squares(probe.point, batch.image, lambda outputs: outputs.logits[:, 0], batch.weight) is None
    asked = []
    slow = importance._one_by_one
    monkeypatch.setattr(importance, "_one_by_one", lambda *args: asked.append(1) or slow(*args))
    found = estimate(FISHERS["empirical"](CROSS_ENTROPY), probe, batch)
    assert asked == [1] and float(jnp.max(found["stem"]["conv"]["kernel"])) > 0


def test_drawn_labels_tend_to_the_fisher_by_hand(recipe, changed):
    # Of a linear classifier on features f the diagonal is the mean over examples of f_i^2 p_k (1 - p_k).
    recipe = complete(changed(recipe, model=Part("mlp", {"hidden": 3})))
    network = build_network(recipe, recipe.stages[0])
    probe, batch = probe_at(network, quantized=False), batch_of(2)._replace(classes=None)
    logits, feature = probe.apply(probe.point, batch.image)
    share = jax.nn.softmax(logits)
    variance = (share * (1 - share))[:, None]
    many = jax.tree.map(lambda part: jnp.repeat(part, 500, axis=0), batch)
    run = estimator(FISHERS["sampled"](CROSS_ENTROPY))
    found = mean(run(probe, [many] * 20, jax.random.key(0)))["classifier"]["dense"]
    np.testing.assert_allclose(found["bias"], jnp.mean(variance[:, 0], axis=0), rtol=0.05)
    expected = jnp.mean(jnp.square(feature)[:, :, None] * variance, axis=0)
    np.testing.assert_allclose(found["kernel"], expected, rtol=0.05, atol=0.01 * float(jnp.max(expected)))


@pytest.fixture(scope="module")
def ended(recipe, changed, tmp_path_factory):
    """ended(task, stage=1, **fields) -> (what a method sees when the task ends, the data)."""

    def end(task, stage=1, **fields):
        full = complete(changed(recipe, {"batch_size": 16}, importance_data="train", **fields))
        world = world_of(full)
        compiled = compile_stage(full, stage, world)
        saved, seen = Saved(state_of(compiled.built)._replace(method_state=()), ()), []
        looking = Method(end_task=lambda state, end: seen.append(end) or state)
        compiled = compiled._replace(built=compiled.built._replace(method=looking))
        own = Seed(full, world, tmp_path_factory.mktemp("run"), None, silent, silent)
        conclude(compiled, own, saved, Place(full.seed, stage, task, 0), is_final=False)
        return seen[0], world

    return end


def images_of(loader):
    """The images of a loader's rows, in its order, without padding."""
    return np.concatenate([np.asarray(batch.image)[np.asarray(batch.weight) > 0] for batch in loader()])


def labels_of(loader):
    return np.concatenate([np.asarray(batch.label)[np.asarray(batch.weight) > 0] for batch in loader()])


def test_a_method_gets_the_networks_own_squares(ended):
    seen, _ = ended(0)
    batch = next(iter(seen.loaders[0]()))
    contribution = FISHERS["empirical"](CROSS_ENTROPY)
    at_weights = probe_of(seen, quantized=True)
    assert at_weights.squares.func is not no_squares
    close(
        estimate(contribution, at_weights, batch),
        estimate(contribution, at_weights._replace(squares=Partial(no_squares)), batch),
    )


def test_all_rows_in_order_by_default(ended):
    seen, world = ended(1)
    for task, loader in enumerate(seen.loaders):
        np.testing.assert_array_equal(labels_of(loader), world.tasks[task].memory.label)


def test_some_batches_are_drawn_from_all_rows(ended):
    seen, world = ended(1, importance_batches=2)
    everything, _ = ended(1)
    for task, loader in enumerate(seen.loaders):
        rows = world.tasks[task].memory.label
        assert [len(batch.label) for batch in loader()] == [16, 16] and len(rows) > 48
        assert set(labels_of(loader)) == set(rows) > set(rows[:32])  # files go class by class
        known = {image.tobytes() for image in images_of(everything.loaders[task])}
        drawn = [image.tobytes() for image in images_of(loader)]
        assert set(drawn) <= known and len(set(drawn)) >= 31  # a few scans of the digits are equal
        np.testing.assert_array_equal(images_of(loader), images_of(loader))


def test_the_draw_follows_seed_stage_and_task(ended):
    def shown(task=0, **fields):
        return images_of(ended(0 if task == 0 else 1, importance_batches=2, **fields)[0].loaders[task]).tobytes()

    first = shown()
    assert shown() == first
    assert len({first, shown(task=1), shown(seed=1), shown(stage=0)}) == 4


def test_more_batches_than_there_are_is_all_of_them(ended):
    seen, world = ended(0, importance_batches=1000)
    np.testing.assert_array_equal(labels_of(seen.loaders[0]), world.tasks[0].memory.label)


def test_a_negative_number_of_batches_is_refused(recipe, changed):
    with pytest.raises(Refusal, match="recipe.importance_batches=-1 is out of range; choose from 0 to 1e"):
        changed(recipe, importance_batches=-1)
