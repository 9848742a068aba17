"""keys, lookup and tree: the few lines that everything stands on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.keys import Stream, generator_for, key_for
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import in_chunks, map_named, named_leaves, total, zeros_like


def test_keys_are_functions_of_the_position():
    data = [np.asarray(jax.random.key_data(key)) for key in (key_for(0, 1, 2), key_for(0, 1, 2), key_for(0, 2, 1))]
    assert (data[0] == data[1]).all()
    assert (data[0] != data[2]).any()
    traced = jax.jit(lambda seed, step: jax.random.key_data(key_for(seed, 1, step)))(jnp.int32(0), jnp.int32(2))
    assert (np.asarray(traced) == data[0]).all()


def test_no_key_of_a_method_is_that_of_a_training_step():
    places = jnp.array(list(itertools.product(range(3), range(3), range(4), range(20))), jnp.uint32)

    def keys(make):
        return {tuple(map(int, data)) for data in jax.jit(jax.vmap(lambda at: jax.random.key_data(make(at))))(places)}

    def of_task(at):
        return key_for(at[0], at[1], at[2], stream=Stream.METHOD)

    steps = keys(lambda at: key_for(*at))
    tasks = keys(of_task)
    batches = keys(lambda at: jax.random.fold_in(of_task(at), at[3]))  # as an estimator folds in the batch
    loaders = keys(lambda at: jax.random.fold_in(jax.random.fold_in(of_task(at), 0), at[3]))  # as rwalk does
    assert [len(found) for found in (steps, tasks, batches, loaders)] == [720, 36, 720, 720]
    assert not steps & (tasks | batches | loaders)


def test_generators_are_functions_of_the_position():
    assert generator_for(3, 1).integers(1 << 40) == generator_for(3, 1).integers(1 << 40)
    places = [(3,), (3, 0), (3, 0, 0), (3, 1), (3, 2), (1, 3)]
    assert len({int(generator_for(*place).integers(1 << 40)) for place in places}) == len(places)


def test_lookup_refuses_with_the_choices():
    assert lookup({"a": 1}, "a", "x") == 1
    with pytest.raises(Refusal, match="model.name='c' is unknown; choose from a, b"):
        lookup({"b": 1, "a": 2}, "c", "model.name")


def test_trees_by_name():
    tree = {"layer_0": {"kernel": jnp.array([1.0, 2.0])}, "bias": jnp.array([3.0])}
    assert sorted(named_leaves(tree)) == ["bias", "layer_0/kernel"]
    doubled = map_named(lambda name, leaf: 2 * leaf if name.endswith("kernel") else leaf, tree)
    assert float(total(doubled)) == 9.0
    assert float(total(zeros_like(tree))) == 0.0


@pytest.mark.parametrize(
    ("size", "most", "shape"),
    [(16, 16, (1, 16)), (17, 16, (2, 9)), (100, 16, (7, 15)), (13, 1, (13, 1)), (3, 0, (3, 1)), (1, 16, (1, 1))],
)
def test_chunks_are_few_and_the_last_ends_in_zeros(size, most, shape):
    rows, mask = in_chunks((jnp.arange(2.0 * size).reshape(size, 2) + 1, jnp.ones(size, bool)), most)
    assert rows.shape == (*shape, 2) and mask.shape == shape
    np.testing.assert_array_equal(rows.reshape(-1)[: 2 * size], np.arange(2 * size) + 1)
    assert int(mask.sum()) == size and not rows.reshape(-1, 2)[size:].any() and not mask.reshape(-1)[size:].any()


def test_a_table_is_in_line_and_escapes_bars():
    table = markdown_table(["a", "long name"], [["b|c", "1"]])
    assert table.splitlines() == ["| a    | long name |", "| ---- | --------- |", "| b\\|c | 1         |"]
