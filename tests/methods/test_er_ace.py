"""ER-ACE by hand: which classes a loss is taken over, under every loss, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.er_ace import er_ace
from tests.methods import toy
from tests.methods.trainer import forward

LABELS, REPLAY = [3, 4, 3, 0, 1], [False, False, False, True, True]  # of five classes, 3 and 4 are new
COUNTS = np.array([20.0, 4.0, 0.0, 7.0, 30.0], np.float32)
LOGITS = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)


def seen(logits=LOGITS, weight=(1.0,) * 5):
    label, weight = np.array(LABELS, np.int32), np.array(weight, np.float32)
    batch = toy.data(0, size=5)._replace(label=label, is_replay=np.array(REPLAY), weight=weight)
    return forward(None, batch, lambda params, image: Outputs(logits, jnp.ones((5, 2))), COUNTS)


def asymmetric(prior):
    """-log of the share of each label's weighted exponential, of new examples among classes 3 and 4."""
    weighted = np.exp(LOGITS.astype(np.float64)) * np.asarray(prior, np.float64)
    among = [(3, 4)] * 3 + [range(5)] * 2
    return np.array([-np.log(w[y] / sum(w[k] for k in ks)) for w, y, ks in zip(weighted, LABELS, among, strict=True)])


def both(method, state, loss):
    """The recipe's loss and that of ER-ACE, as functions of the logits."""
    return (
        lambda logits: loss(seen(logits).examples),
        lambda logits: method.example_loss(state, loss, seen(logits)),
    )


@pytest.mark.parametrize(("loss", "prior"), [("cross_entropy", [1.0] * 5), ("ball_log_prior", [20, 4, 1, 7, 30])])
@pytest.mark.parametrize("full", [0.0, 0.25, 1.0])
def test_by_hand(loss, prior, full):
    loss = LOSSES[loss]()
    plain, found = (jax.jit(f)(LOGITS) for f in both(er_ace(full), full, loss))
    expected = np.where(REPLAY, plain, (1 - full) * asymmetric(prior) + full * np.array(plain))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_under_every_loss_a_new_example_pushes_no_old_class(name):
    _, values = both(er_ace(full=0.0), 0.0, LOSSES[name]())
    found, slopes = jax.jit(lambda logits: (values(logits), jax.jacrev(values)(logits)))(LOGITS)
    slopes = np.array(slopes)[range(5), range(5)]  # of each value by its own logits
    assert np.all(np.isfinite(found)) and np.all(np.isfinite(slopes))
    np.testing.assert_array_equal(slopes[:3, :3], 0.0)
    assert np.all(slopes[3:, 3:] != 0.0)  # a replayed one pushes the new classes


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_first_task_has_the_recipes_loss(name):
    plain, found = (jax.jit(f)(LOGITS) for f in both(er_ace(), 1.0, LOSSES[name]()))
    np.testing.assert_array_equal(found, plain)


def test_padding_opens_no_class():
    weight = (1.0, 0.0, 1.0, 1.0, 1.0)  # of the new classes, 3 is left
    loss = LOSSES["cross_entropy"]()
    values = jax.jit(lambda logits: er_ace(full=0.0).example_loss(0.0, loss, seen(logits, weight)))(LOGITS)
    np.testing.assert_allclose(np.array(values)[[0, 2]], 0.0, atol=1e-6)


def test_the_classes_are_those_of_all_devices():
    loss, rows = LOSSES["cross_entropy"](), np.array([[0, 3], [1, 4]])  # one new example and one replayed on each

    def of_part(part):
        whole = seen()
        examples, batch = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf)[part], one)
            for one in (whole.examples._replace(counts=jnp.zeros(5), progress=jnp.zeros(5), across=None), whole.batch)
        )
        examples = examples._replace(counts=COUNTS, progress=jnp.zeros(()), across=lambda x: jax.lax.psum(x, "devices"))
        return er_ace(full=0.0).example_loss(0.0, loss, whole._replace(batch=batch, examples=examples))

    values = jax.jit(jax.vmap(of_part, axis_name="devices"))(rows)
    np.testing.assert_allclose(values, asymmetric([1.0] * 5)[rows], rtol=1e-5)


def test_refuses_a_share_that_is_none():
    with pytest.raises(Refusal, match="method.args.full=1.5 is not a number from 0 to 1"):
        er_ace(full=1.5)
