"""A-GEM's projection by hand, and what the link keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import total
from lifeq_jax.optim.project import follow_new_examples, projected
from tests.methods import toy


def tree(*numbers):
    return {"a": jnp.array(numbers[:2], jnp.float32), "b": jnp.array(numbers[2:], jnp.float32)}


@pytest.mark.parametrize(
    ("gradient", "reference", "expected"),
    [
        ((1, 0, 0), (2, 0, 0), (1, 0, 0)),  # the same way
        ((1, 0, 5), (0, 2, 0), (1, 0, 5)),  # at a right angle
        ((3, 4, 0), (-1, 0, 0), (0, 4, 0)),  # against it
        ((1, 1, 1), (-1, -1, 0), (0, 0, 1)),  # over all leaves at once
        ((1, 1, 1), (0, 0, 0), (1, 1, 1)),  # nothing is replayed
    ],
)
def test_by_hand(gradient, reference, expected):
    found = projected(tree(*gradient), tree(*reference))
    jax.tree.map(np.testing.assert_allclose, found, tree(*expected))


def test_it_never_goes_against_the_reference_and_moves_no_farther_than_it_must():
    for seed in range(20):
        gradient, reference = (jax.random.normal(jax.random.key(2 * seed + side), (50,)) for side in range(2))
        found = projected(gradient, reference)
        assert float(found @ reference) > -1e-4
        # what is taken away is a multiple of the reference: the nearest point of the half space
        away = gradient - found
        np.testing.assert_allclose(away * (reference @ reference), (away @ reference) * reference, atol=1e-3)


def test_the_link_puts_the_new_examples_in_place_of_all_and_keeps_the_rest():
    batch, params = toy.with_replay(1), tree(0, 0, 0)
    whole, by_group = tree(1, 1, 1), {64.0: tree(3, 4, 0), 4.0: tree(-1, 0, 0)}

    def gradient_of(weight):
        return by_group[float(jnp.sum(weight))]

    link, penalty = follow_new_examples(), tree(10, 20, 30)
    updates, given = jax.tree.map(jnp.add, whole, penalty), dict(batch_gradient=whole, gradient_of=gradient_of)
    found, _ = link.update(updates, link.init(params), params, batch=batch, progress=0.0, **given)
    jax.tree.map(np.testing.assert_allclose, found, tree(10, 24, 30))
    assert float(total(found)) == 64.0
