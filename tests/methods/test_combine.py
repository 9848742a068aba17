"""Several methods as one: each sees its own state, penalties add up, links keep their order."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method, StepInfo
from lifeq_jax.methods.combine import combine
from tests.methods import toy
from tests.methods.trainer import forward, start

PARAMS = {"w": jnp.array([1.0, 2.0])}


def link(function):
    """A link that replaces each update by function(update, own method state, progress)."""

    def update(updates, state, params=None, *, method_state, progress, **_):
        return jax.tree.map(lambda leaf: function(leaf, method_state, progress), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def counter(first, function):
    """A method whose state counts steps from `first`, with the same link at both ends."""
    return Method(
        init=lambda start: jnp.array(first),
        penalty=lambda state, params, weights: state * jnp.sum(params["w"]) + jnp.sum(weights["w"]),
        example_loss=lambda state, loss, seen: state * loss(seen.examples) + seen.examples.weight,
        observe=lambda state, step: state + step.progress,
        end_task=lambda state, task: state * 10,
        gradients=link(function),
        constraint=link(function),
    )


# (2 u + 1), then (3 u): the order shows
BOTH = combine(counter(1.0, lambda u, s, p: 2 * u + s), counter(3.0, lambda u, s, p: s * u + p))


def test_states_stay_apart():
    state = BOTH.init(start(PARAMS))
    assert state == (1.0, 3.0)
    state = BOTH.observe(state, StepInfo(PARAMS, PARAMS, PARAMS, jnp.float32(0.5)))
    assert state == (1.5, 3.5)
    assert BOTH.end_task(state, toy.task_end(0, toy.init())) == (15.0, 35.0)


def test_penalties_add_up():
    assert float(BOTH.penalty(BOTH.init(start(PARAMS)), PARAMS, {"w": jnp.array([0.5, 0.5])})) == (1 + 3) * 3 + 2 * 1


def test_each_makes_something_of_what_those_before_it_have_made_of_the_loss():
    seen = forward(toy.init(), toy.data(0), toy.apply)
    values = BOTH.example_loss((2.0, 3.0), lambda examples: examples.logits[:, 0], seen)
    np.testing.assert_allclose(values, 3 * (2 * seen.examples.logits[:, 0] + 1) + 1, rtol=1e-6)


def test_a_later_one_may_call_the_loss_on_other_logits():
    def shifted(state, loss, seen):
        return loss(seen.examples._replace(logits=seen.examples.logits + state))

    both = combine(Method(example_loss=shifted), Method(example_loss=shifted))
    seen = forward(toy.init(), toy.data(0), toy.apply)
    values = both.example_loss((2.0, 30.0), lambda examples: examples.logits[:, 0], seen)
    np.testing.assert_allclose(values, seen.examples.logits[:, 0] + 32, rtol=1e-6)


def test_links_follow_one_another():
    for transform in (BOTH.gradients, BOTH.constraint):
        updates, _ = transform.update(
            PARAMS, transform.init(PARAMS), PARAMS, method_state=BOTH.init(start(PARAMS)), progress=jnp.float32(0.25)
        )
        np.testing.assert_allclose(updates["w"], [3 * 3 + 0.25, 3 * 5 + 0.25])


def test_fine_tuning_adds_nothing():
    expected, _, matrix = toy.train(METHODS["ewc"](), steps=5)
    actual, state, same = toy.train(combine(METHODS["ewc"](), METHODS["finetune"]()), steps=5)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    np.testing.assert_array_equal(matrix, same)
    assert state[1] == ()
