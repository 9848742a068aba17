"""What every row of METHODS holds, and the claim: it forgets less than fine-tuning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.classify import weighted_mean
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import StepInfo
from tests.methods import toy
from tests.methods.trainer import forward, start

NAMES = sorted(METHODS)
PROTECTING = sorted(set(METHODS) - {"finetune"})
# The toy's loss is nearly 0 when a task ends, so its Fisher information is small and wants a large strength.
STRENGTH = {"ewc": 1e5, "imm": 0.1, "lifequant": 1e5, "lwf": 2.0, "mas": 0.3, "rwalk": 10.0, "scp": 1.0, "si": 10.0}
OTHERS = {"blip": {"prior": 1e-9}}  # arguments of what has no strength, for the same reason
ADDS_NO_LOSS = {"blip", "finetune", "frozen"}
OUTPUTS = {"frozen": 4, "lwf": 4}  # methods that keep the outputs of old heads want a head for each task


def shapes(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def step(state, method, params, seed):
    """One training step as `observe` sees it."""
    grads = jax.grad(toy.loss)(params, toy.data(seed % 2))
    new = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    return method.observe(state, StepInfo(params, new, grads, jnp.ones(()))), new


@functools.cache
def after_one_task(name):
    method, params = METHODS[name](), toy.init()
    state, params = step(method.init(start(params)), method, params, 0)
    return method, method.end_task(state, toy.task_end(0, params)), params


def cost(method, state, params):
    loss, batch = LOSSES["cross_entropy"](), toy.data(0)
    seen = forward(params, batch, toy.apply)
    further = weighted_mean(method.example_loss(state, loss, seen) - loss(seen.examples), batch.weight)
    return method.penalty(state, params, toy.quantize(params)) + further


@pytest.mark.parametrize("name", NAMES)
def test_first_task_is_free(name):
    method, params = METHODS[name](), toy.init()
    state = method.init(start(params))
    for _ in range(2):
        value, gradient = jax.value_and_grad(lambda p, s=state: cost(method, s, p))(params)
        assert float(value) == 0.0
        assert all(bool(jnp.all(leaf == 0)) for leaf in jax.tree.leaves(gradient))
        state, params = step(state, method, params, 0)


@pytest.mark.parametrize("name", NAMES)
def test_penalty_starts_at_zero_and_its_losses_act_away_from_the_anchor(name):
    method, state, params = after_one_task(name)
    assert abs(float(method.penalty(state, params, toy.quantize(params)))) < 1e-6
    here, away = (cost(method, state, point) for point in (params, toy.init(3)))
    assert away.shape == ()
    assert (float(away) > float(here) + 1e-6) == (name not in ADDS_NO_LOSS)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite(name):
    method, state, params = after_one_task(name)
    for point in (params, toy.init(3)):
        gradient = jax.grad(lambda p: cost(method, state, p))(point)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_equals_eager(name):
    method, state, params = after_one_task(name)
    other = toy.init(3)
    np.testing.assert_allclose(
        jax.jit(functools.partial(cost, method))(state, other), cost(method, state, other), rtol=1e-5
    )
    info = StepInfo(params, other, jax.grad(toy.loss)(params, toy.data(0)), jnp.ones(()))
    eager, compiled = method.observe(state, info), jax.jit(method.observe)(state, info)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), eager, compiled)


@pytest.mark.parametrize("name", NAMES)
def test_state_keeps_its_shapes_so_nothing_is_retraced(name):
    method, params, traces = METHODS[name](), toy.init(), []

    @jax.jit
    def train_step(state, params):
        traces.append(1)
        state, new = step(state, method, params, 0)
        return state, new, cost(method, state, new)

    state = method.init(start(params))
    expected = shapes(state)
    for task in range(2):
        state, params, _ = train_step(state, params)
        state = method.end_task(state, toy.task_end(task, params))
        assert shapes(state) == expected
    train_step(state, params)
    assert len(traces) == 1


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_flatten_and_unflatten(name):
    method, state, params = after_one_task(name)
    leaves, structure = jax.tree.flatten(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    restored = jax.tree.unflatten(structure, [jnp.asarray(np.asarray(leaf)) for leaf in leaves])
    other = toy.init(3)
    assert float(cost(method, restored, other)) == float(cost(method, state, other))
    again = method.end_task(restored, toy.task_end(1, params))
    expected = method.end_task(state, toy.task_end(1, params))
    jax.tree.map(np.testing.assert_array_equal, again, expected)


@pytest.mark.parametrize("name", NAMES)
def test_state_and_parameters_can_be_donated_together(name):
    method, params = METHODS[name](), toy.init()
    donated = jax.jit(lambda both: jax.tree.map(lambda x: x + 0, both), donate_argnums=0)
    state, params = donated((method.init(start(params)), params))
    task = toy.task_end(0, params)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((method.end_task(state, task), params))]
    assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize("name", NAMES)
def test_end_task_is_a_function_of_its_arguments(name):
    method, state, params = after_one_task(name)
    first, second = (method.end_task(state, toy.task_end(1, params)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("name", NAMES)
def test_batches_may_be_split_for_per_example_methods(name):
    method, _, params = after_one_task(name)
    state = method.init(start(params))
    states = [method.end_task(state, toy.task_end(0, params, parts)) for parts in (1, 4)]
    for leaf in jax.tree.leaves(states):
        assert bool(jnp.all(jnp.isfinite(leaf)))
    if name == "ewc":  # mean over examples: the batch size does not matter
        for key, leaf in named_leaves(states[0].importance).items():
            np.testing.assert_allclose(leaf, named_leaves(states[1].importance)[key], rtol=1e-4, atol=1e-7)


@functools.cache
def accuracies(name, outputs):
    arguments = {"strength": STRENGTH[name]} if name in STRENGTH else OTHERS.get(name, {})
    return toy.train(METHODS[name](**arguments), outputs=outputs)[2]


@pytest.mark.parametrize("outputs", [2, 4])
def test_finetune_learns_and_forgets(outputs):
    matrix = accuracies("finetune", outputs)
    assert matrix[0, 0] > 0.95
    assert matrix[1, 1] > 0.95
    assert matrix[1, 0] < 0.75


@pytest.mark.parametrize("name", PROTECTING)
def test_forgets_less_than_finetune(name):
    outputs = OUTPUTS.get(name, 2)
    matrix, plain = accuracies(name, outputs), accuracies("finetune", outputs)
    assert matrix[1, 0] > plain[1, 0] + 0.2
    assert matrix[1, 1] > 0.9
