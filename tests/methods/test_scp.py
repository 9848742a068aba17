"""SCP: what its random vectors estimate, and its two variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.importance import mean
from lifeq_jax.methods.penalty import probe_of
from lifeq_jax.methods.scp import scp, sliced, unit_vectors
from tests.methods import recorded, toy
from tests.methods.trainer import start
from tests.refusals import refused


def test_squared_is_the_mean_of_each_vectors_squared_gradient():
    params, vectors = toy.init(), unit_vectors(jax.random.key(2), 20, 2)
    batch = toy.data(0)
    probe = probe_of(toy.task_end(0, params), quantized=False, num_batches=1)
    jacobian = jax.jacrev(lambda p: jnp.mean(toy.apply(p, batch.image).logits, axis=0))(params)
    expected = jax.tree.map(lambda j: jnp.mean(jnp.tensordot(vectors, j, 1) ** 2, axis=0), jacobian)
    recorded.close(mean(sliced(probe, batch, "squared", lambda size: vectors)), expected, rtol=2e-5)


def test_many_vectors_give_the_expectation():
    params, batch = toy.init(), toy.data(0)
    task = toy.task_end(0, params, parts=1)
    method = scp(num_vectors=4000)
    state = method.end_task(method.init(start(params)), task)
    jacobian = jax.jacrev(lambda p: jnp.mean(toy.apply(p, batch.image).logits, axis=0))(params)
    expected = jax.tree.map(lambda j: jnp.sum(jnp.square(j), axis=0) / 2, jacobian)
    recorded.close(state.importance, expected, rtol=0.1)


def test_absolute_vanishes_with_many_vectors_and_squared_does_not():
    params = toy.init()
    task = toy.task_end(0, params)
    totals = {}
    for variant in ("absolute", "squared"):
        for num_vectors in (2, 2000):
            method = scp(num_vectors=num_vectors, variant=variant)
            state = method.end_task(method.init(start(params)), task)
            totals[variant, num_vectors] = float(jnp.sum(state.importance["classifier"]["kernel"]))
    assert totals["absolute", 2000] < 0.2 * totals["absolute", 2]
    assert totals["squared", 2000] > 0.2 * totals["squared", 2]


def test_vectors_are_unit_and_follow_the_key():
    vectors = unit_vectors(jax.random.key(1), 30, 5)
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=1), np.ones(30), rtol=1e-6)
    np.testing.assert_array_equal(vectors, unit_vectors(jax.random.key(1), 30, 5))
    assert not bool(jnp.any(vectors == unit_vectors(jax.random.key(2), 30, 5)))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"variant": "cubed"}, "method.args.variant='cubed' is unknown; choose from absolute, squared"),
        ({"num_vectors": 0}, "method.args.num_vectors=0 is not a number of vectors from 1 on"),
    ],
)
def test_refusals(arguments, line):
    assert refused(scp, **arguments) == line
