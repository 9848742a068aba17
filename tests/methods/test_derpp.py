"""DER++ by hand: which logits are kept of which image, and what they add."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.derpp import NOBODY, derpp
from tests.methods import toy
from tests.methods.trainer import forward, start

LOSS = LOSSES["cross_entropy"]()
ROWS = 2 * toy.SIZE


def ended(method, params, task=0, places=ROWS, state=None, **end):
    state = method.init(start(params, num_rows=ROWS, num_kept=places)) if state is None else state
    return method.end_task(state, toy.task_end(task, params)._replace(**end))


def test_by_hand():
    old, now, batch = toy.init(1), toy.init(2), toy.with_replay(1)
    seen = forward(now, batch, toy.apply)
    method = derpp(alpha=0.3, beta=0.7)
    values = method.example_loss(ended(method, old), LOSS, seen)
    logits, kept = (np.asarray(toy.apply(point, batch.image).logits) for point in (now, old))
    expected = np.array(LOSS(seen.examples))
    expected[-toy.KEPT :] = 0.7 * expected[-toy.KEPT :] + 0.3 * ((logits - kept) ** 2)[-toy.KEPT :].mean(axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_logits_are_kept_from_the_end_of_their_own_task():
    first, second = toy.init(1), toy.init(2)
    state = ended(derpp(), second, task=1, state=ended(derpp(), first))
    assert bool(jnp.all(jnp.diff(state.key) > 0))
    for task, point in enumerate((first, second)):
        batch = toy.data(task)
        place = jnp.searchsorted(state.key, task * ROWS + batch.index)
        np.testing.assert_allclose(state.logits[place], toy.apply(point, batch.image).logits, rtol=1e-5, atol=1e-6)


def test_one_image_of_two_tasks_has_two_entries():
    points, batch = (toy.init(1), toy.init(2)), toy.data(0)
    method, state = derpp(alpha=1.0, beta=0.0), None
    for task, point in enumerate(points):
        again = batch._replace(task=jnp.full_like(batch.task, task))
        state = ended(method, point, task, state=state, loaders=(lambda again=again: [again],))
    assert int(jnp.sum(state.key < NOBODY)) == ROWS
    for task, point in enumerate(points):
        replayed = batch._replace(task=jnp.full_like(batch.task, task), is_replay=jnp.ones_like(batch.is_replay))
        values = method.example_loss(state, LOSS, forward(point, replayed, toy.apply))
        np.testing.assert_allclose(values, 0.0, atol=1e-10)


def test_padding_is_not_kept_and_an_image_without_logits_has_its_loss_alone():
    params, batch = toy.init(1), toy.data(0)
    weight = (jnp.arange(toy.SIZE) < 3).astype(jnp.float32)
    padded = batch._replace(weight=weight, index=jnp.where(weight > 0, batch.index, -1))
    method = derpp(beta=0.5)
    state = ended(method, params, places=5, loaders=(lambda: [padded],))
    np.testing.assert_array_equal(state.key, [0, 1, 2, NOBODY, NOBODY])
    seen = forward(toy.init(2), batch._replace(is_replay=jnp.ones(toy.SIZE, bool)), toy.apply)
    values, alone = method.example_loss(state, LOSS, seen), 0.5 * LOSS(seen.examples)
    assert bool(jnp.all(values[:3] > alone[:3]))
    np.testing.assert_array_equal(values[3:], alone[3:])


def test_only_the_examples_own_head_counts():
    params, other = toy.init(1, outputs=4), toy.init(2, outputs=4)
    method = derpp(alpha=1.0, beta=0.0)
    state = ended(method, params)
    batch = toy.data(0, outputs=4)._replace(is_replay=jnp.ones(toy.SIZE, bool))
    values = method.example_loss(state, LOSS, forward(other, batch, toy.apply))
    logits, kept = (toy.apply(point, batch.image).logits[:, :2] for point in (other, params))
    np.testing.assert_allclose(values, jnp.mean(jnp.square(logits - kept), axis=1), rtol=1e-5)


def test_the_stored_logits_pull_those_of_replayed_images_alone():
    method = derpp(beta=0.0)
    state = ended(method, toy.init(1))
    seen = forward(toy.init(2), toy.with_replay(1), toy.apply)

    def total(logits, of_seen):
        outputs = of_seen.outputs._replace(logits=logits)
        return jnp.sum(method.example_loss(state, LOSS, of_seen._replace(outputs=outputs)))

    slopes = jax.grad(total)(seen.outputs.logits, seen)
    assert bool(jnp.all(slopes[: toy.SIZE] == 0)) and bool(jnp.all(slopes[toy.SIZE :] != 0))


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_refusals(name):
    with pytest.raises(Refusal, match=f"method.args.{name}=-1.0 is not a finite number from 0 on"):
        derpp(**{name: -1.0})
