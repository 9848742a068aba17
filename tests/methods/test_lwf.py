"""LwF: distillation of every old head against the original, the heads it knows, and a teacher that never learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses.classify import cross_entropy
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.lwf import EPS, Teacher, distillation, lwf
from tests.methods import toy
from tests.methods.trainer import added, start

CASES = {  # heads, task under way, temperature, strength
    "c0": ((5, 5, 5), 2, 1.0, 2.0),
    "c1": ((4, 3, 6), 2, 2.0, 2.0),
    "c2": ((7, 3), 0, 1.0, 2.0),
    "c3": ((4, 5), 1, 0.5, 1.0),
}


def outputs(arrays, case, kind, heads):
    return jnp.concatenate([arrays[f"{case}_{kind}{head}"] for head in range(len(heads))], axis=1)


@pytest.mark.parametrize("case", CASES)
def test_golden(golden, case):
    arrays, (heads, task, temperature, strength) = golden("blip_baseline_lwf"), CASES[case]
    now, old, label = outputs(arrays, case, "out", heads), outputs(arrays, case, "old", heads), arrays[f"{case}_y"]
    owner, first = np.repeat(np.arange(len(heads)), heads), sum(heads[:task])
    of_one = jax.jit(distillation, static_argnums=3)
    for head in range(task):
        values = of_one(now, old, jnp.asarray(owner == head, jnp.int32), temperature)
        np.testing.assert_allclose(jnp.mean(values), arrays[f"{case}_dist{head}"], rtol=1e-5)
    method, batch = lwf(strength, temperature), toy.data(0, size=len(label))
    state = Teacher({}, jnp.asarray(np.where(owner < task, owner + 1, 0), jnp.int32))

    def loss(logits):
        own = jnp.mean(cross_entropy(logits[:, first : first + heads[task]], jnp.asarray(label)))
        return own + added(method, state, batch, logits, lambda params, image: Outputs(old, image))

    value, gradient = jax.jit(jax.value_and_grad(loss))(now)
    np.testing.assert_allclose(value, arrays[f"{case}_loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, outputs(arrays, case, "grad", heads), rtol=1e-5, atol=1e-6)


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
    half = batch._replace(weight=batch.weight.at[32:].set(0.0))
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
    with pytest.raises(Refusal) as refused:
        lwf(**arguments)
    assert str(refused.value) == line


def test_refuses_a_task_without_data():
    params = toy.init()
    with pytest.raises(Refusal) as refused:
        lwf().end_task(lwf().init(start(params)), toy.task_end(0, params)._replace(loaders=(list,)))
    assert str(refused.value) == "method.name='lwf': the loader of task 0 yields 0 batches; at least 1 is needed"
