"""BaLL by hand and against the original's values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses.balanced import ball_weights, log_prior, scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.classify import cross_entropy

VARIANTS = {"resnet20": shifted_cross_entropy, "mobilenet": scaled_cross_entropy}
REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum}


def close(actual, expected, rtol=1e-5):
    """Equal up to `rtol` of the largest value."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * float(np.max(np.abs(expected))))


def test_weights_by_hand():
    weights = ball_weights(jnp.array([30.0, 10.0, 0.0]))
    np.testing.assert_allclose(weights, [1 / (0.75 * 2 + 1), 1 / (0.25 * 2 + 1), 1.0], rtol=1e-6)


def test_weights_of_equal_classes_are_one_half():
    np.testing.assert_allclose(ball_weights(jnp.full(7, 12.0)), np.full(7, 0.5), rtol=1e-6)


def test_weights_without_any_image_are_one():
    np.testing.assert_array_equal(ball_weights(jnp.zeros(4)), np.ones(4))


def test_log_prior_by_hand():
    logits = jnp.log(jnp.array([[1.0, 2.0, 4.0]]))
    loss = log_prior(logits, jnp.array([1]), jnp.array([8.0, 2.0, 0.0]))
    np.testing.assert_allclose(loss, [-np.log(4 / (8 + 4 + 4))], rtol=1e-6)


def test_log_prior_of_equal_counts_is_the_cross_entropy():
    logits, label = jax.random.normal(jax.random.key(0), (6, 4)), jnp.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_allclose(
        log_prior(logits, label, jnp.full(4, 9.0)), cross_entropy(logits, label), rtol=1e-5, atol=1e-6
    )


def test_log_prior_pushes_rare_classes_harder():
    gradient = jax.grad(lambda z, y: log_prior(z, y, jnp.array([90.0, 10.0]))[0])
    rare = -gradient(jnp.zeros((1, 2)), jnp.array([1]))[0, 1]
    common = -gradient(jnp.zeros((1, 2)), jnp.array([0]))[0, 0]
    np.testing.assert_allclose([rare, common], [0.9, 0.1], rtol=1e-5)


def test_golden_covers_these_cases(golden):
    arrays = golden("lq_balanced_softmax")
    inputs, results = {"logits", "labels", "weights", "ct"}, {"loss", "glogits"}
    expected = {f"{case}/{name}" for case in ("c0", "c1", "c2_large") for name in inputs} | {
        f"{case}/{variant}/{reduction}/{name}"
        for case in ("c0", "c1", "c2_large")
        for variant in VARIANTS
        for reduction in ("mean", "sum", "none")
        for name in results
    }
    assert set(arrays.files) == expected


@pytest.mark.parametrize("case", ["c0", "c1", "c2_large"])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_golden_values_and_gradients(golden, case, variant):
    arrays = golden("lq_balanced_softmax")
    logits, weights = jnp.asarray(arrays[f"{case}/logits"]), jnp.asarray(arrays[f"{case}/weights"])
    label = jnp.asarray(arrays[f"{case}/labels"], jnp.int32)
    loss, pull = jax.vjp(lambda z: VARIANTS[variant](z, label, weights), logits)
    close(loss, arrays[f"{case}/{variant}/none/loss"])
    close(pull(jnp.asarray(arrays[f"{case}/ct"]))[0], arrays[f"{case}/{variant}/none/glogits"])
    for name, reduce in REDUCTIONS.items():
        value, gradient = jax.value_and_grad(lambda z, reduce=reduce: reduce(VARIANTS[variant](z, label, weights)))(
            logits
        )
        close(value, arrays[f"{case}/{variant}/{name}/loss"])
        close(gradient, arrays[f"{case}/{variant}/{name}/glogits"])
