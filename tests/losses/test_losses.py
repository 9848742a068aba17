"""What every row of LOSSES holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.balanced import ball_weights, scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.base import Examples
from lifeq_jax.losses.classify import cross_entropy_of_labels

LABEL = np.array([0, 3, 1, 0, 0, 1, 3, 1], np.int32)
LOGITS = (3 * np.random.default_rng(1).normal(size=(8, 4))).astype(np.float32)
FEATURE = np.maximum(np.random.default_rng(2).normal(size=(8, 5)), 0).astype(np.float32)
COUNTS = np.array([40.0, 8.0, 0.0, 3.0], np.float32)
WHOLE = Examples(*map(jnp.asarray, (LOGITS, FEATURE, LABEL, np.ones(8), COUNTS, np.float32(1))))


@functools.cache
def compiled(name):
    """The values of a loss and the gradient of their sum, as compiled functions of Examples."""
    loss = LOSSES[name]()

    @jax.jit
    def both(logits, *parts):
        values, pull = jax.vjp(lambda z: loss(Examples(z, *parts)), logits)
        return values, pull(jnp.ones(len(logits)))[0]

    return lambda examples: map(np.asarray, both(*examples[:-1]))  # `across` stays outside


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("counts", [COUNTS, np.zeros(4, np.float32)], ids=["unbalanced", "empty"])
def test_one_finite_value_per_example(name, counts):
    values, gradient = compiled(name)(WHOLE._replace(counts=counts))
    assert values.shape == (8,)
    assert np.all(values >= 0)
    assert np.all(np.isfinite(gradient))
    weightless = np.sum(counts) == 0 and name in ("class_balanced", "homovar", "ldam")
    assert np.all(values > 0) != weightless
    assert (np.max(np.abs(gradient)) > 0) != weightless


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_compiled_equals_eager(name):
    values, _ = compiled(name)(WHOLE)
    np.testing.assert_allclose(values, LOSSES[name]()(WHOLE), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_new_counts_and_progress_retrace_nothing(name):
    traces, loss = [], LOSSES[name]()

    @jax.jit
    def values(counts, progress):
        traces.append(counts)
        return loss(WHOLE._replace(counts=counts, progress=progress))

    values(COUNTS, jnp.float32(0.0))
    values(COUNTS + 1, jnp.float32(0.9))
    assert len(traces) == 1


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_padding_has_no_influence(name):
    garbage = WHOLE._replace(logits=LOGITS.copy(), feature=FEATURE.copy(), label=LABEL.copy(), weight=np.ones(8))
    garbage.logits[5:], garbage.feature[5:], garbage.label[5:], garbage.weight[5:] = 50, 9, 1, 0
    values, _ = compiled(name)(WHOLE._replace(weight=garbage.weight))
    without, _ = compiled(name)(garbage)
    np.testing.assert_array_equal(without[:5], values[:5])
    alone, _ = compiled(name)(WHOLE._replace(**{part: getattr(WHOLE, part)[:5] for part in Examples._fields[:4]}))
    np.testing.assert_allclose(alone, values[:5], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_two_devices_give_the_values_of_one(name):
    loss = LOSSES[name]()

    def part(logits, feature, label, weight):
        examples = Examples(logits, feature, label, weight, COUNTS, jnp.ones(()), lambda x: jax.lax.psum(x, "devices"))
        return loss(examples)

    halves = (np.reshape(value, (2, 4, *value.shape[1:])) for value in WHOLE[:4])
    values = jax.pmap(part, axis_name="devices")(*halves)
    expected, _ = compiled(name)(WHOLE)
    np.testing.assert_allclose(np.reshape(values, 8), expected, rtol=1e-5)


def test_rows_are_the_named_formulas():
    weights = ball_weights(COUNTS)
    prior = cross_entropy_of_labels(LOGITS + jnp.log(jnp.array([[40.0, 8.0, 1.0, 3.0]])), LABEL)
    expected = {
        "cross_entropy": cross_entropy_of_labels(LOGITS, LABEL),
        "ball_shift": shifted_cross_entropy(LOGITS, LABEL, weights),
        "ball_scale": scaled_cross_entropy(LOGITS, LABEL, weights),
        "ball_log_prior": prior,
        "balanced_softmax": prior,
        "logit_adjustment": prior,
    }
    own = {"class_balanced", "focal", "homovar", "ldam"}  # tested in their own files
    assert set(expected) | own == set(LOSSES)
    for name, values in expected.items():
        np.testing.assert_allclose(LOSSES[name]()(WHOLE), values, rtol=1e-6)
