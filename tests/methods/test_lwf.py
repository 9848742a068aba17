"""LwF: the heads that it knows, the first task, padding, and a teacher that never learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.lwf import EPS, lwf
from tests.methods import toy
from tests.methods.trainer import added, start
from tests.refusals import refused


def test_outputs_belong_to_the_task_that_had_them():
    params = toy.init(outputs=4)
    state = lwf().init(start(params))
    for task, expected in enumerate(([1, 1, 0, 0], [1, 1, 2, 2])):
        state = lwf().end_task(state, toy.task_end(task, params))
        np.testing.assert_array_equal(state.head, expected)


def test_a_shared_head_is_one_term():
    params, teacher = toy.init(1), toy.init(2)
    state = lwf().init(start(teacher))
    for task in range(2):
        state = lwf().end_task(state, toy.task_end(task, teacher))
    np.testing.assert_array_equal(state.head, [1, 1])
    batch = toy.data(1)
    logits, targets = (toy.apply(point, batch.image).logits for point in (params, teacher))
    smoothed = (jax.nn.softmax(logits) + EPS / 2) / (1 + EPS)
    expected = -2.0 * jnp.mean(jnp.sum(jax.nn.softmax(targets) * jnp.log(smoothed), axis=-1))
    np.testing.assert_allclose(added(lwf(), state, batch, logits, toy.apply), expected, rtol=1e-5)


def test_the_teacher_is_the_network_at_the_end_of_the_last_task_and_never_learns():
    first, last = toy.init(1), toy.init(2)
    state = lwf().end_task(lwf().init(start(first)), toy.task_end(0, first))
    state = lwf().end_task(state, toy.task_end(1, last))
    jax.tree.map(np.testing.assert_array_equal, state.params, last)
    batch = toy.data(1)
    logits = toy.apply(first, batch.image).logits
    gradient = jax.grad(lambda teacher: added(lwf(), state._replace(params=teacher), batch, logits, toy.apply))
    assert all(bool(jnp.all(leaf == 0)) for leaf in jax.tree.leaves(gradient(last)))


def test_the_first_task_asks_no_teacher():
    state, batch, asked = lwf().init(start(toy.init())), toy.data(0), []

    def evaluate(params, image):
        jax.debug.callback(lambda: asked.append(1))
        return toy.apply(params, image)

    def loss(state, logits):
        return added(lwf(), state, batch, logits, evaluate)

    logits = toy.apply(toy.init(1), batch.image).logits
    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=1))(state, logits)
    assert (float(value), float(jnp.sum(jnp.abs(gradient))), asked) == (0.0, 0.0, [])
    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=1))(
        state._replace(head=jnp.ones_like(state.head)), logits
    )
    assert float(value) > 0.0
    assert float(jnp.sum(jnp.abs(gradient))) > 0.0
    jax.effects_barrier()
    assert asked == [1]


def test_rows_of_weight_zero_do_not_count():
    params, batch = toy.init(1), toy.data(0)
    state = lwf().end_task(lwf().init(start(params)), toy.task_end(0, params))
    logits = toy.apply(toy.init(2), batch.image).logits
    half = batch._replace(weight=batch.weight * (np.arange(toy.SIZE) < 32))
    spoiled = logits.at[32:].set(100.0)
    values = [float(added(lwf(), state, half, z, toy.apply)) for z in (logits, spoiled)]
    assert values[0] == values[1] > 0.0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"strength": -1.0}, "method.args.strength=-1.0 is not a finite number from 0 on"),
        ({"temperature": 0.0}, "method.args.temperature=0.0 is not a finite number above 0"),
    ],
)
def test_refusals(arguments, line):
    assert refused(lwf, **arguments) == line


def test_refuses_a_task_without_data():
    params = toy.init()
    end = toy.task_end(0, params)._replace(loaders=(list,))
    line = refused(lwf().end_task, lwf().init(start(params)), end)
    assert line == "method.name='lwf': the loader of task 0 yields 0 batches; at least 1 is needed"
