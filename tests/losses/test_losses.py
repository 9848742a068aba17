"""What every row of LOSSES holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.balanced import ball_weights, scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.classify import cross_entropy

LOGITS = 3 * jax.random.normal(jax.random.key(1), (5, 4))
LABEL = jnp.array([0, 3, 1, 2, 3], jnp.int32)
COUNTS = jnp.array([40.0, 8.0, 1.0, 0.0])


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("counts", [COUNTS, jnp.zeros(4)], ids=["unbalanced", "empty"])
def test_one_finite_value_per_example(name, counts):
    loss = LOSSES[name](LOGITS, LABEL, counts)
    gradient = jax.grad(lambda z: jnp.sum(LOSSES[name](z, LABEL, counts)))(LOGITS)
    assert loss.shape == (5,)
    assert bool(jnp.all(loss > 0))
    assert bool(jnp.all(jnp.isfinite(gradient)))
    assert float(jnp.max(jnp.abs(gradient))) > 0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_compiled_equals_eager(name):
    np.testing.assert_allclose(
        jax.jit(LOSSES[name])(LOGITS, LABEL, COUNTS), LOSSES[name](LOGITS, LABEL, COUNTS), rtol=1e-5
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_new_counts_retrace_nothing(name):
    traces = []

    @jax.jit
    def loss(counts):
        traces.append(counts)
        return LOSSES[name](LOGITS, LABEL, counts)

    loss(COUNTS)
    loss(COUNTS + 1)
    assert len(traces) == 1


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_examples_are_independent(name):
    whole = LOSSES[name](LOGITS, LABEL, COUNTS)
    alone = LOSSES[name](LOGITS[2:3], LABEL[2:3], COUNTS)
    np.testing.assert_allclose(whole[2:3], alone, rtol=1e-5)


def test_rows_are_the_named_formulas():
    weights = ball_weights(COUNTS)
    expected = {
        "cross_entropy": cross_entropy(LOGITS, LABEL),
        "ball_shift": shifted_cross_entropy(LOGITS, LABEL, weights),
        "ball_scale": scaled_cross_entropy(LOGITS, LABEL, weights),
        "ball_log_prior": cross_entropy(LOGITS + jnp.log(jnp.array([[40.0, 8.0, 1.0, 1.0]])), LABEL),
    }
    assert set(expected) == set(LOSSES)
    for name, values in expected.items():
        np.testing.assert_allclose(LOSSES[name](LOGITS, LABEL, COUNTS), values, rtol=1e-6)
