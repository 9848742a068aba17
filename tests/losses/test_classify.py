"""Cross-entropy and the weighted mean by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.losses.classify import cross_entropy_of_labels, weighted_mean


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]))
    loss = cross_entropy_of_labels(logits, jnp.array([2, 1]))
    np.testing.assert_allclose(loss, -np.log([0.5, 0.2]), rtol=1e-6)


def test_cross_entropy_stays_finite_for_large_logits():
    loss = cross_entropy_of_labels(jnp.array([[1e4, 0.0], [1e4, 0.0]]), jnp.array([0, 1]))
    np.testing.assert_array_equal(loss, [0.0, 1e4])


def test_gradient_is_softmax_minus_one_hot():
    logits, label = jnp.array([[1.0, -2.0, 0.5]]), jnp.array([1])
    gradient = jax.grad(lambda z: cross_entropy_of_labels(z, label)[0])(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - jnp.array([[0.0, 1.0, 0.0]]), rtol=1e-6, atol=1e-7)


def test_weighted_mean_leaves_padding_out():
    values = jnp.array([2.0, 4.0, 1000.0])
    assert weighted_mean(values, jnp.array([1.0, 1.0, 0.0])) == 3.0
    assert weighted_mean(values, jnp.array([0.25, 0.0, 0.0])) == 2.0


def test_weighted_mean_of_padding_alone_is_zero_with_zero_gradient():
    value, gradient = jax.value_and_grad(weighted_mean)(jnp.ones(3), jnp.zeros(3))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(3))
