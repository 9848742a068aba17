"""What every row of METHODS holds, and the claim: it forgets less than fine-tuning."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.classify import weighted_mean
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import StepInfo
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.train.classify import classification
from lifeq_jax.train.step import fresh_state, make_step
from tests.methods import toy, trainer
from tests.methods.trainer import forward, start

CROSS_ENTROPY = LOSSES["cross_entropy"]()
NAMES = sorted(METHODS)
PROTECTING = sorted(set(METHODS) - {"finetune"})
# The toy's loss is nearly 0 when a task ends, so its Fisher information is small and wants a large strength.
STRENGTH = {"ewc": 1e5, "imm": 0.1, "lifequant": 1e5, "lwf": 2.0, "mas": 0.3, "rwalk": 10.0, "scp": 1.0, "si": 10.0}
OTHERS = {"blip": {"prior": 1e-9}}  # arguments of what has no strength, for the same reason
NUMBERS = [(name, "strength") for name in STRENGTH] + [
    ("lifequant", "prox"),
    ("blip", "prior"),
    ("derpp", "alpha"),
    ("derpp", "beta"),
    ("er_ace", "full"),
]
ADDS_NO_LOSS = {"blip", "finetune", "frozen"}
REHEARSAL = sorted(name for name in METHODS if METHODS[name]().needs_replay)
# Methods that keep the outputs of old heads want a head for each task, those that weigh old classes against new ones
# one head for all classes.
HEADS, CLASSES = {"outputs": 4}, {"outputs": 4, "shared": True, "kept": 2}
TASKS = {"agem": HEADS | {"kept": 16}, "derpp": CLASSES, "er_ace": CLASSES, "frozen": HEADS, "lwf": HEADS}


def shapes(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@jax.jit
def moved(params, batch):
    """One training step as `observe` sees it."""
    grads = jax.grad(toy.loss)(params, batch)
    return StepInfo(params, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), grads, jnp.ones(()))


def step(method, state, params, task):
    info = moved(params, toy.data(task))
    return method.observe(state, info), info.new_params


@functools.cache
def compiled(name):
    """The method, and the value and gradient of its cost, compiled."""
    method = METHODS[name]()
    return method, jax.jit(jax.value_and_grad(functools.partial(cost, method), argnums=1))


@functools.cache
def after_one_task(name):
    (method, _), params = compiled(name), toy.init()
    state, params = step(method, method.init(begun(params)), params, 0)
    return method, method.end_task(state, toy.task_end(0, params)), params


def begun(params):
    return start(params, num_rows=2 * toy.SIZE, num_kept=2 * toy.SIZE)


def cost(method, state, params, batch):
    """What a method adds to the mean loss."""
    seen = forward(params, batch, toy.apply)
    further = weighted_mean(
        method.example_loss(state, CROSS_ENTROPY, seen) - CROSS_ENTROPY(seen.examples), seen.batch.weight
    )
    return method.penalty(state, params, toy.quantize(params)) + further


def minimized(method, state, params):
    """All that training minimizes."""
    batch = toy.with_replay(1)
    plain = weighted_mean(CROSS_ENTROPY(forward(params, batch, toy.apply).examples), batch.weight)
    return plain + cost(method, state, params, batch)


@pytest.mark.parametrize("name", NAMES)
def test_first_task_is_free(name):
    (method, cost), params = compiled(name), toy.init()
    state = method.init(begun(params))
    for _ in range(2):
        value, gradient = cost(state, params, toy.data(0, size=toy.SIZE + toy.KEPT))
        assert float(value) == 0.0
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))
        state, params = step(method, state, params, 0)


@pytest.mark.parametrize("name", NAMES)
def test_penalty_starts_at_zero_and_its_losses_act_away_from_the_anchor(name):
    method, state, params = after_one_task(name)
    assert abs(float(method.penalty(state, params, toy.quantize(params)))) < 1e-6
    here, away = (compiled(name)[1](state, point, toy.with_replay(1))[0] for point in (params, toy.init(3)))
    assert away.shape == ()
    if name not in REHEARSAL:  # which weigh the loss itself
        assert (float(away) > float(here) + 1e-6) == (name not in ADDS_NO_LOSS)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite(name):
    _, state, params = after_one_task(name)
    for point in (params, toy.init(3)):
        _, gradient = compiled(name)[1](state, point, toy.with_replay(1))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_equals_eager(name):
    method, state, params = after_one_task(name)
    other = toy.init(3)
    np.testing.assert_allclose(
        jax.jit(functools.partial(minimized, method))(state, other), minimized(method, state, other), rtol=1e-5
    )
    info = StepInfo(params, other, moved(params, toy.data(0)).grads, jnp.ones(()))
    eager, compiled = method.observe(state, info), jax.jit(method.observe)(state, info)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), eager, compiled)


@pytest.mark.parametrize("name", NAMES)
def test_state_keeps_its_shapes_so_nothing_is_retraced(name):
    (method, _), params, traces = compiled(name), toy.init(), []

    @jax.jit
    def train_step(state, params):
        traces.append(1)
        state, new = step(method, state, params, 0)
        return state, new, cost(method, state, new, toy.with_replay(1))

    state = method.init(begun(params))
    expected = shapes(state)
    for task in range(2):
        state, params, _ = train_step(state, params)
        state = method.end_task(state, toy.task_end(task, params))
        assert shapes(state) == expected
    train_step(state, params)
    assert len(traces) == 1


@pytest.mark.parametrize(("name", "number"), NUMBERS)
def test_numbers_are_data_so_that_other_ones_compile_nothing(name, number):
    """A search over them shares one compiled step."""
    net, base = trainer.network(toy.apply, toy.quantize, toy.QUANTIZED), sgd_by_progress(constant(0.1), 0.0)

    def lowered(value):
        method = METHODS[name](**{number: value})
        optimizer = method_chain(method.gradients, base, base, method.constraint)
        step = make_step(classification(net, method, CROSS_ENTROPY), net, method, optimizer)
        fresh = fresh_state(method, optimizer, begun(toy.init()), (), toy.counts(), 1)
        return jax.jit(step).lower(fresh, toy.with_replay(1), jax.random.key(0)).as_text()

    assert lowered(0.1) == lowered(0.2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("ewc", {}), ("imm", {}), ("lifequant", {"limit": math.inf}), ("mas", {}), ("rwalk", {}), ("scp", {}), ("si", {})],
)
def test_penalties_are_proportional_to_the_strength_after_every_task(name, arguments):
    def values(strength):
        method, params, found = METHODS[name](strength=strength, **arguments), toy.init(), []
        state = method.init(begun(params))
        for task in range(2):
            state, params = step(method, state, params, task)
            state = method.end_task(state, toy.task_end(task, params))
            found.append(float(method.penalty(state, toy.init(3), toy.quantize(toy.init(3)))))
        return np.array(found)

    once, thrice = values(1.0), values(3.0)
    assert np.all(once > 0)
    np.testing.assert_allclose(thrice, 3.0 * once, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_flatten_and_unflatten(name):
    method, state, params = after_one_task(name)
    leaves, structure = jax.tree.flatten(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    restored = jax.tree.unflatten(structure, [jnp.asarray(np.asarray(leaf)) for leaf in leaves])
    one, other = (compiled(name)[1](s, toy.init(3), toy.with_replay(1))[0] for s in (restored, state))
    assert float(one) == float(other)
    again = method.end_task(restored, toy.task_end(1, params))
    expected = method.end_task(state, toy.task_end(1, params))
    jax.tree.map(np.testing.assert_array_equal, again, expected)


@pytest.mark.parametrize("name", NAMES)
def test_state_and_parameters_can_be_donated_together(name):
    (method, _), params = compiled(name), toy.init()
    donated = jax.jit(lambda both: jax.tree.map(lambda x: x + 0, both), donate_argnums=0)
    state, params = donated((method.init(begun(params)), params))
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
    state = method.init(begun(params))
    states = [method.end_task(state, toy.task_end(0, params, parts)) for parts in (1, 4)]
    for leaf in jax.tree.leaves(states):
        assert np.all(np.isfinite(leaf))
    if name == "ewc":  # mean over examples: the batch size does not matter
        for key, leaf in named_leaves(states[0].importance).items():
            np.testing.assert_allclose(leaf, named_leaves(states[1].importance)[key], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", REHEARSAL)
def test_devices_share_a_batch_with_all_replay_on_one_of_them(name):
    method, state, params = after_one_task(name)
    net, base = trainer.network(toy.apply, toy.quantize, toy.QUANTIZED), sgd_by_progress(constant(0.1), 0.0)
    optimizer = method_chain(method.gradients, base, base, method.constraint)

    def stepped(batch, axis_name=None):
        objective = classification(net, method, LOSSES["ball_log_prior"](), axis_name)
        step = make_step(objective, net, method, optimizer, axis_name)
        fresh = fresh_state(method, optimizer, begun(params), (), toy.counts(), 1)._replace(method_state=state)
        after, totals = step(fresh, batch, jax.random.key(0))
        return after.params, totals.loss, totals.penalty

    batch = toy.with_replay(1)
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    several = jax.jit(jax.vmap(functools.partial(stepped, axis_name="devices"), axis_name="devices"))(parts)
    for one, each in zip(*map(jax.tree.leaves, (jax.jit(stepped)(batch), several)), strict=True):
        np.testing.assert_allclose(each, jnp.broadcast_to(one, each.shape), rtol=1e-4, atol=1e-6)


@functools.cache
def accuracies(name, **tasks):
    arguments = {"strength": STRENGTH[name]} if name in STRENGTH else OTHERS.get(name, {})
    return toy.train(METHODS[name](**arguments), **tasks)[2]


@pytest.mark.parametrize("outputs", [2, 4])
def test_finetune_learns_and_forgets(outputs):
    matrix = accuracies("finetune", outputs=outputs)
    assert matrix[0, 0] > 0.95
    assert matrix[1, 1] > 0.95
    assert matrix[1, 0] < 0.75


@pytest.mark.parametrize("name", PROTECTING)
def test_forgets_less_than_finetune(name):
    tasks = TASKS.get(name, {"outputs": 2})
    alone = {"kept": 0} if name == "agem" else {}  # it learns no replayed image
    matrix, plain = accuracies(name, **tasks), accuracies("finetune", **(tasks | alone))
    assert matrix[1, 0] > plain[1, 0] + 0.2
    assert matrix[1, 1] > 0.9
