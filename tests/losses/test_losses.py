"""What every row of LOSSES holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.balanced import ball_weights, scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.base import Examples
from lifeq_jax.losses.classify import cross_entropy_of_labels

LABEL = jnp.array([0, 3, 1, 0, 0, 1, 3, 1], jnp.int32)
LOGITS = 3 * jax.random.normal(jax.random.key(1), (8, 4))
FEATURE = jax.nn.relu(jax.random.normal(jax.random.key(2), (8, 5)))
COUNTS = jnp.array([40.0, 8.0, 0.0, 3.0])
WHOLE = Examples(LOGITS, FEATURE, LABEL, jnp.ones(8), COUNTS, jnp.ones(()))


def compiled(loss):
    """The compiled loss as a function of Examples, whose `across` stays outside."""
    values = jax.jit(lambda *parts: loss(Examples(*parts)))
    return lambda examples: values(*examples[:-1])


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("counts", [COUNTS, jnp.zeros(4)], ids=["unbalanced", "empty"])
def test_one_finite_value_per_example(name, counts):
    loss = compiled(LOSSES[name]())
    values, pull = jax.vjp(lambda z: loss(WHOLE._replace(logits=z, counts=counts)), LOGITS)
    gradient = pull(jnp.ones(8))[0]
    assert values.shape == (8,)
    assert bool(jnp.all(values >= 0))
    assert bool(jnp.all(jnp.isfinite(gradient)))
    weightless = float(jnp.sum(counts)) == 0 and name in ("class_balanced", "homovar", "ldam")
    assert bool(jnp.all(values > 0)) != weightless
    assert (float(jnp.max(jnp.abs(gradient))) > 0) != weightless


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_compiled_equals_eager(name):
    np.testing.assert_allclose(compiled(LOSSES[name]())(WHOLE), LOSSES[name]()(WHOLE), rtol=1e-5)


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
    loss, padding = compiled(LOSSES[name]()), WHOLE.weight.at[5:].set(0.0)
    garbage = WHOLE._replace(logits=LOGITS.at[5:].set(50.0), feature=FEATURE.at[5:].set(9.0), label=LABEL.at[5:].set(1))
    values = loss(WHOLE._replace(weight=padding))
    np.testing.assert_array_equal(loss(garbage._replace(weight=padding))[:5], values[:5])
    alone = loss(Examples(*(part[:5] for part in WHOLE[:4]), COUNTS, jnp.ones(())))
    np.testing.assert_allclose(alone, values[:5], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_two_devices_give_the_values_of_one(name):
    loss = LOSSES[name]()

    def part(logits, feature, label, weight):
        examples = Examples(logits, feature, label, weight, COUNTS, jnp.ones(()), lambda x: jax.lax.psum(x, "devices"))
        return loss(examples)

    halves = (value.reshape(2, 4, *value.shape[1:]) for value in WHOLE[:4])
    values = jax.pmap(part, axis_name="devices")(*halves)
    np.testing.assert_allclose(values.reshape(8), compiled(loss)(WHOLE), rtol=1e-5)


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
