"""BaLL by hand and against the original's values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses.balanced import ball_weights, log_prior, scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.classify import cross_entropy_of_labels
from tests import vectors
from tests.torch_layout import under

VARIANTS = {"resnet20": shifted_cross_entropy, "mobilenet": scaled_cross_entropy}
REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum, "none": lambda losses: losses}


def test_weights_by_hand():
    weights = jax.jit(ball_weights)(np.array([30.0, 10.0, 0.0]))
    np.testing.assert_allclose(weights, [1 / (0.75 * 2 + 1), 1 / (0.25 * 2 + 1), 1.0], rtol=1e-6)


def test_weights_of_equal_classes_are_one_half():
    np.testing.assert_allclose(jax.jit(ball_weights)(np.full(7, 12.0)), np.full(7, 0.5), rtol=1e-6)


def test_weights_without_any_image_are_one():
    np.testing.assert_array_equal(jax.jit(ball_weights)(np.zeros(4)), np.ones(4))


def test_log_prior_by_hand():
    loss = jax.jit(log_prior)(np.log([[1.0, 2.0, 4.0]]), np.array([1]), np.array([8.0, 2.0, 0.0]))
    np.testing.assert_allclose(loss, [-np.log(4 / (8 + 4 + 4))], rtol=1e-6)


def test_log_prior_of_equal_counts_is_the_cross_entropy():
    logits, label = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 3, 0, 1])
    found, expected = (
        jax.jit(log_prior)(logits, label, np.full(4, 9.0)),
        jax.jit(cross_entropy_of_labels)(logits, label),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_log_prior_pushes_rare_classes_harder():
    gradient = jax.jit(jax.grad(lambda z, y: log_prior(z, y, jnp.array([90.0, 10.0]))[0]))
    rare, common = (-np.array(gradient(np.zeros((1, 2)), np.array([y])))[0, y] for y in (1, 0))
    np.testing.assert_allclose([rare, common], [0.9, 0.1], rtol=1e-5)


@pytest.mark.parametrize(("case", "variant"), vectors.keys("lq_balanced_softmax", "(.+)/(.+)/none/loss"))
def test_values_and_gradients_are_the_originals(case, variant):
    arrays = under(vectors.arrays("lq_balanced_softmax"), f"{case}/")
    label, weights = arrays["labels"].astype(np.int32), jnp.asarray(arrays["weights"])

    @functools.partial(jax.jit, static_argnums=1)
    def both(logits, name):
        loss, pull = jax.vjp(lambda z: REDUCTIONS[name](VARIANTS[variant](z, label, weights)), logits)
        return loss, pull(jnp.asarray(arrays["ct"]) if name == "none" else jnp.ones(()))[0]

    for name in REDUCTIONS:
        loss, gradient = both(arrays["logits"], name)
        vectors.close(loss, arrays[f"{variant}/{name}/loss"])
        vectors.close(gradient, arrays[f"{variant}/{name}/glogits"])
