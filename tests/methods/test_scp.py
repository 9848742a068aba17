"""SCP against the original with its recorded vectors, and the variant that was meant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods.importance import Sum, mean
from lifeq_jax.methods.penalty import Anchor
from lifeq_jax.methods.scp import scp, sliced, unit_vectors
from tests.methods import recorded, toy
from tests.methods.trainer import start


def importance(arrays, variant):
    """Over the recorded batches with the recorded vectors."""
    parts = [
        sliced(
            recorded.probe(arrays),
            batch,
            variant,
            lambda size, i=i: jnp.asarray(arrays[f"mlp/scp/vectors/b{i}"]),
        )
        for i, batch in enumerate(recorded.batches(arrays))
    ]
    return mean(Sum(*jax.tree.map(lambda *x: sum(x), *parts)))


def test_golden(golden):
    arrays = golden("lq_importance")
    params = recorded.tree(arrays, "p_old")
    actual = importance(arrays, "absolute")
    recorded.close(actual, recorded.tree(arrays, "scp/importance"))
    recorded.check_penalty(scp(strength=1.0), Anchor(actual, params, jnp.zeros(())), arrays, "scp")


def test_squared_is_the_mean_of_each_vectors_squared_gradient(golden):
    arrays = golden("lq_importance")
    probe, expected = recorded.probe(arrays), []
    for i, batch in enumerate(recorded.batches(arrays)):
        jacobian = jax.jacrev(lambda p, b=batch: jnp.mean(recorded.apply(p, b.image).logits, axis=0))(probe.point)
        vectors = arrays[f"mlp/scp/vectors/b{i}"]
        project = lambda j, v=vectors: jnp.mean(jnp.tensordot(v, j, 1) ** 2, axis=0)  # noqa: E731
        expected.append(jax.tree.map(project, jacobian))
    recorded.close(importance(arrays, "squared"), jax.tree.map(lambda *x: sum(x) / 3, *expected), rtol=2e-5)


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
    with pytest.raises(Refusal) as refused:
        scp(**arguments)
    assert str(refused.value) == line
