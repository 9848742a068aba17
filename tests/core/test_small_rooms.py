"""keys, lookup and tree: the few lines that everything stands on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.keys import generator_for, key_for
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves, total, zeros_like


def test_keys_are_functions_of_the_position():
    data = [np.asarray(jax.random.key_data(key)) for key in (key_for(0, 1, 2), key_for(0, 1, 2), key_for(0, 2, 1))]
    assert (data[0] == data[1]).all()
    assert (data[0] != data[2]).any()
    traced = jax.jit(lambda seed, step: jax.random.key_data(key_for(seed, 1, step)))(jnp.int32(0), jnp.int32(2))
    assert (np.asarray(traced) == data[0]).all()


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


def test_a_table_is_in_line_and_escapes_bars():
    table = markdown_table(["a", "long name"], [["b|c", "1"]])
    assert table.splitlines() == ["| a    | long name |", "| ---- | --------- |", "| b\\|c | 1         |"]
