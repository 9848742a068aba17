"""Rebalancing losses by hand, their gradients, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lifeq_jax.losses.balanced import log_prior
from lifeq_jax.losses.base import Examples
from lifeq_jax.losses.classify import cross_entropy_of_labels
from lifeq_jax.losses.rebalance import (
    class_balanced,
    effective_weights,
    focal,
    ldam,
    log_complement,
    logit_adjustment,
    margins,
)
from tests.refusals import refused

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
LABEL = np.array([0, 1, 2, 1])
COUNTS = np.array([1000.0, 81.0, 16.0])
OWN = PROBABILITIES[np.arange(4), LABEL]


def examples(logits, label=LABEL, counts=COUNTS, progress=0.0):
    logits, label, counts = jnp.asarray(logits, jnp.float32), jnp.asarray(label), jnp.asarray(counts, jnp.float32)
    return Examples(logits, logits, label, jnp.ones(len(label)), counts, jnp.float32(progress))


KNOWN = examples(np.log(PROBABILITIES))


def by_hand_weights(beta):
    raw = (1 - beta) / (1 - beta**COUNTS)
    return raw * 3 / raw.sum()


def by_hand_ldam(scale, weights):
    odds = PROBABILITIES**scale
    margin = 0.5 * np.array([(16 / 1000) ** 0.25, 2 / 3, 1.0])
    own = odds[np.arange(4), LABEL] * np.exp(-scale * margin)[LABEL]
    return -np.log(own / (own + odds.sum(1) - odds[np.arange(4), LABEL])) * weights[LABEL]


def by_hand_adjusted(tau):
    scaled = PROBABILITIES * COUNTS**tau
    return -np.log(scaled[np.arange(4), LABEL] / scaled.sum(1))


CASES = {
    "class_balanced": (class_balanced(), 0.0, -np.log(OWN) * by_hand_weights(0.999)[LABEL]),
    "class_balanced 0.9": (class_balanced(beta=0.9), 0.0, -np.log(OWN) * by_hand_weights(0.9)[LABEL]),
    "focal": (focal(), 0.0, -np.log(OWN) * (1 - OWN) ** 2),
    "focal 0.5": (focal(gamma=0.5), 0.0, -np.log(OWN) * (1 - OWN) ** 0.5),
    "focal 0": (focal(gamma=0.0), 0.0, -np.log(OWN)),
    "ldam": (ldam(), 0.79, by_hand_ldam(1.0, np.ones(3))),
    "ldam deferred": (ldam(), 0.8, by_hand_ldam(1.0, by_hand_weights(0.9999))),
    "ldam scaled": (ldam(scale=3.0, defer=0.5, beta=0.9), 0.6, by_hand_ldam(3.0, by_hand_weights(0.9))),
    "logit_adjustment": (logit_adjustment(), 0.0, by_hand_adjusted(1.0)),
    "logit_adjustment 2": (logit_adjustment(tau=2.0), 0.0, by_hand_adjusted(2.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case):
    loss, progress, expected = CASES[case]
    np.testing.assert_allclose(loss(KNOWN._replace(progress=jnp.float32(progress))), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_finite_differences(case):
    loss, progress, _ = CASES[case]
    total = jax.jit(lambda z: jnp.sum(loss(KNOWN._replace(logits=z, progress=jnp.float32(progress)))))
    check_grads(total, (KNOWN.logits,), order=1, modes=["rev"], eps=1e-2, rtol=1e-2)


def test_logit_adjustment_contains_its_relatives():
    np.testing.assert_allclose(logit_adjustment()(KNOWN), log_prior(KNOWN.logits, KNOWN.label, KNOWN.counts), rtol=1e-6)
    plain = cross_entropy_of_labels(KNOWN.logits, KNOWN.label)
    np.testing.assert_allclose(logit_adjustment(tau=0.0)(KNOWN), plain, rtol=1e-6)
    np.testing.assert_allclose(ldam(max_margin=0.0, defer=1.0)(KNOWN), plain, rtol=1e-6)


def test_effective_weights_run_from_equal_to_inverse_sizes():
    counts = jnp.array([1e7, 100.0, 0.0, 1.0])
    np.testing.assert_allclose(effective_weights(counts, np.log(1e-30)), [1.0, 1.0, 0.0, 1.0], rtol=1e-6)
    inverse = np.array([1e-7, 0.01, 0.0, 1.0])
    np.testing.assert_allclose(effective_weights(counts, -1e-12), 3 * inverse / inverse.sum(), rtol=1e-4)
    np.testing.assert_array_equal(effective_weights(jnp.zeros(3), -1e-3), np.zeros(3))


def test_effective_weights_do_not_cancel():
    counts, beta = np.array([5000.0, 3.0]), 1 - 1e-9  # which float32 rounds to 1
    raw = np.expm1(np.log(beta)) / np.expm1(counts * np.log(beta))
    np.testing.assert_allclose(effective_weights(jnp.asarray(counts), np.log(beta)), 2 * raw / raw.sum(), rtol=1e-5)


def test_margins_of_absent_classes_are_zero():
    np.testing.assert_allclose(margins(jnp.array([81.0, 0.0, 16.0]), 0.3), [0.2, 0.0, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(margins(jnp.zeros(2), 0.3), np.zeros(2))


def test_log_complement_by_hand():
    np.testing.assert_allclose(log_complement(KNOWN.logits), np.log(1 - PROBABILITIES), rtol=1e-5)


def test_log_complement_of_a_certain_class_is_exact():
    logits = jnp.array([[50.0, 0.0, 0.0], [1e4, 0.0, -1e4]])
    values, pull = jax.vjp(log_complement, logits)
    np.testing.assert_allclose(values[:, 0], [np.log(2) - 50, -1e4], rtol=1e-6)
    np.testing.assert_allclose(pull(jnp.zeros((2, 3)).at[:, 0].set(1.0))[0][1], [-1.0, 1.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: class_balanced(beta=1.0), "loss.args.beta=1.0 is not a number between 0 and 1, both excluded"),
        (lambda: focal(gamma=-1.0), "loss.args.gamma=-1.0 is not a finite number from 0 on"),
        (lambda: ldam(max_margin=-0.5), "loss.args.max_margin=-0.5 is not a finite number from 0 on"),
        (lambda: ldam(scale=0.0), "loss.args.scale=0.0 is not a finite number above 0"),
        (lambda: ldam(defer=80.0), "loss.args.defer=80.0 is not a number from 0 to 1"),
        (lambda: ldam(beta=float("nan")), "loss.args.beta=nan is not a number between 0 and 1, both excluded"),
        (lambda: logit_adjustment(tau=float("inf")), "loss.args.tau=inf is not a finite number from 0 on"),
    ],
)
def test_refusals(make, text):
    assert refused(make) == text
