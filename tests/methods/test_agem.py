"""A-GEM in a whole step: what it follows, and that replayed images only limit it."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.agem import agem
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.project import projected
from lifeq_jax.optim.schedules import constant
from lifeq_jax.train.classify import classification
from lifeq_jax.train.step import fresh_state, make_step
from tests.methods import toy, trainer

RATE = 0.5


def step_on(batch, params):
    method, net = agem(), trainer.network(toy.apply, toy.quantize, toy.QUANTIZED)
    base = sgd_by_progress(constant(RATE), momentum=0.0)
    optimizer = method_chain(method.gradients, base, base, method.constraint)
    step = make_step(classification(net, method, LOSSES["cross_entropy"]()), net, method, optimizer)
    state = fresh_state(method, optimizer, trainer.start(params), (), toy.counts(), num_steps=1)
    after, totals = jax.jit(step)(state, batch, jax.random.key(0))
    return jax.tree.map(lambda new, old: (old - new) / RATE, after.params, params), totals


def test_a_step_follows_the_projected_gradient_of_the_new_examples():
    turned = 0
    for seed in range(6):
        params, batch = toy.init(seed), toy.with_replay(1)
        new, replayed = (
            jax.tree.map(lambda leaf, part=part: leaf[part], batch) for part in (slice(64), slice(64, None))
        )
        gradient, reference = (jax.grad(toy.loss)(params, part) for part in (new, replayed))
        expected = projected(gradient, reference)
        found, totals = step_on(batch, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)
        np.testing.assert_allclose(totals.loss, toy.loss(params, batch), rtol=1e-5)  # still of all examples
        turned += not np.allclose(expected["hidden"]["kernel"], gradient["hidden"]["kernel"])
    assert turned > 0


def test_without_replay_it_is_fine_tuning():
    params, batch = toy.init(), toy.data(0)
    expected = jax.grad(toy.loss)(params, batch)
    found, _ = step_on(batch, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), found, expected)


def test_a_batch_of_replay_alone_moves_nothing():
    batch = toy.data(0)._replace(is_replay=jnp.ones(toy.SIZE, bool))
    found, _ = step_on(batch, toy.init())
    assert all(bool(jnp.all(jnp.abs(leaf) < 1e-6)) for leaf in jax.tree.leaves(found))
