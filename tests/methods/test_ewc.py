"""EWC by its histories, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods.ewc import ewc
from tests.methods import recorded, toy
from tests.methods.trainer import start
from tests.refusals import refused


def test_strength_multiplies_the_penalty():
    params = toy.init()
    other = jax.tree.map(lambda p: p + 0.1, params)
    values = []
    for strength in (1.0, 3.0):
        method = ewc(strength=strength)
        state = method.end_task(method.init(start(params)), toy.task_end(0, params))
        values.append(float(method.penalty(state, other, other)))
    np.testing.assert_allclose(values[1], 3 * values[0], rtol=1e-6)


@pytest.mark.parametrize("fisher", ["batch", "empirical", "sampled"])
def test_per_task_is_the_sum_of_single_tasks(fisher):
    first, second = toy.init(0), toy.init(1)
    other = toy.init(2)
    method = ewc(strength=1.0, fisher=fisher)
    fresh = method.init(start(first))
    states = [method.end_task(fresh, toy.task_end(0, first)), method.end_task(fresh, toy.task_end(1, second))]
    both = method.end_task(states[0], toy.task_end(1, second))
    expected = sum(float(method.penalty(state, other, other)) for state in states)
    np.testing.assert_allclose(method.penalty(both, other, other), expected, rtol=1e-5)


def test_online_decays_old_importance_and_moves_the_anchor():
    first, second = toy.init(0), toy.init(1)
    plain, online = ewc(strength=1.0), ewc(strength=1.0, history="online", decay=0.25)
    fresh = plain.init(start(first))
    old = plain.end_task(fresh, toy.task_end(0, first)).importance
    new = plain.end_task(fresh, toy.task_end(1, second)).importance
    state = online.end_task(online.end_task(fresh, toy.task_end(0, first)), toy.task_end(1, second))
    recorded.close(state.importance, jax.tree.map(lambda a, b: 0.25 * a + b, old, new))
    recorded.close(state.params, second)
    assert float(online.penalty(state, second, second)) == 0.0


def test_averaged_is_the_mean_over_tasks_and_moves_the_anchor():
    points = [toy.init(seed) for seed in range(3)]
    method = ewc(strength=1.0, history="averaged")
    fresh = state = method.init(start(points[0]))
    ends = [toy.task_end(task, point)._replace(loaders=(lambda: [toy.data(0)],)) for task, point in enumerate(points)]
    for end in ends:
        state = method.end_task(state, end)
    single = [method.end_task(fresh, end._replace(task=0)).importance for end in ends]
    recorded.close(state.importance, jax.tree.map(lambda *parts: sum(parts) / 3, *single))
    recorded.close(state.params, points[2])


def test_recomputed_forgets_the_old_state():
    params = toy.init(0)
    method = ewc(history="recomputed")
    state = method.end_task(method.init(start(params)), toy.task_end(0, toy.init(1)))
    again = method.end_task(state, toy.task_end(1, params))
    fresh = method.end_task(method.init(start(params)), toy.task_end(1, params))
    recorded.close(again.importance, fresh.importance)


def test_latent_parameters_are_what_it_protects():
    params = toy.init()
    method = ewc(strength=1.0)
    state = method.end_task(method.init(start(params)), toy.task_end(0, params))
    weights = jax.tree.map(lambda p: p + 1.0, params)
    assert float(method.penalty(state, params, weights)) == 0.0
    assert bool(jnp.all(state.params["hidden"]["kernel"] == params["hidden"]["kernel"]))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"fisher": "exact"},
            "method.args.fisher='exact' is unknown; choose from batch, empirical, sampled, sampled_batch",
        ),
        (
            {"history": "all"},
            "method.args.history='all' is unknown; choose from averaged, online, per_task, recomputed",
        ),
        ({"strength": -1.0}, "method.args.strength=-1.0 is not a finite number from 0 on"),
        ({"strength": float("inf")}, "method.args.strength=inf is not a finite number from 0 on"),
        ({"decay": 1.5}, "method.args.decay=1.5 is not a number from 0 to 1"),
    ],
)
def test_refusals(arguments, line):
    assert refused(ewc, **arguments) == line
