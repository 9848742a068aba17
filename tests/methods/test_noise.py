"""The activation-noise term by hand; the golden proof is in test_lifequant.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.importance import gradient, mean_loss
from lifeq_jax.methods.noise import DRAWS, noise_loss, noisy_loss
from tests.methods import recorded


def terms(arrays, draws, weight=None, step=2 / 15):
    probe, batch = recorded.probe(arrays), recorded.batches(arrays)[0]
    logits, feature = probe.apply(probe.point, batch.image)
    weight = batch.weight if weight is None else weight
    return noise_loss(probe, logits, feature, weight, draws, step), logits


def test_without_noise_it_is_minus_log_of_the_mean_square(golden):
    loss, logits = terms(golden("lq_importance"), jnp.full((3, 5, 8), 0.5))
    np.testing.assert_allclose(loss, -jnp.log(jnp.mean(jnp.square(jax.nn.log_softmax(logits)))), rtol=1e-5)


def test_noise_shrinks_with_the_step(golden):
    arrays = golden("lq_importance")
    draws = jax.random.uniform(jax.random.key(0), (50, 5, 8))
    calm = float(terms(arrays, jnp.full((1, 5, 8), 0.5))[0])
    gaps = [abs(float(terms(arrays, draws, step=2 / (2**bits - 1))[0]) - calm) for bits in (2, 4, 8)]
    assert gaps[0] > gaps[1] > gaps[2]


def test_padding_does_not_count(golden):
    arrays, draws = golden("lq_importance"), jax.random.uniform(jax.random.key(0), (4, 5, 8))
    weight = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    loss, _ = terms(arrays, draws, weight)
    other, _ = terms(arrays, draws.at[:, 3:].set(0.1), weight)
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    assert float(terms(arrays, draws, jnp.zeros(5))[0]) == 0.0


def test_objective_divides_by_the_number_of_batches(golden):
    arrays, key = golden("lq_importance"), jax.random.key(3)
    batch, objective = recorded.batches(arrays)[0], noisy_loss(LOSSES["cross_entropy"](), 4, 2.0)
    one, four, never = (float(objective(recorded.probe(arrays, n), batch, key)) for n in (1, 4, float("inf")))
    np.testing.assert_allclose(four - never, (one - never) / 4, rtol=1e-4)
    empty = batch._replace(weight=jnp.zeros(5))
    grads = gradient(objective, recorded.probe(arrays), empty, key)
    assert all(bool(jnp.all(leaf == 0)) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(("bits", "act_range"), [(4, 2.0), (4, 0.5), (3, 6.0)])
def test_noise_is_up_to_one_step_of_the_range(golden, bits, act_range):
    arrays, key = golden("lq_importance"), jax.random.key(3)
    batch, probe, loss = recorded.batches(arrays)[0], recorded.probe(arrays, 1), LOSSES["cross_entropy"]()
    logits, feature = probe.apply(probe.point, batch.image)
    shift = (2 * jax.random.uniform(key, (DRAWS, *feature.shape)) - 1) * (act_range / (2**bits - 1))
    noisy = jax.nn.log_softmax(jax.vmap(lambda part: recorded.head(probe.point, feature + part))(shift))
    agreement = jnp.mean(noisy * jax.nn.log_softmax(logits)[None], axis=(1, 2))
    expected = -jnp.mean(jnp.log(agreement)) + mean_loss(loss)(probe, batch, key)
    np.testing.assert_allclose(noisy_loss(loss, bits, act_range)(probe, batch, key), expected, rtol=1e-5)
