import functools

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.keys import key_for
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.losses.classify import OUT
from lifeq_jax.methods.base import Method, StageStart
from lifeq_jax.models import MODELS
from lifeq_jax.optim.chain import adam_by_progress, method_chain
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.rl import make_game
from lifeq_jax.rl.heads import game_heads, head_of, value_of
from lifeq_jax.rl.learn import LearnerState, Lesson, Minibatch, batch_of_actions, make_update, objective
from lifeq_jax.rl.ppo import PPO, minibatch_order, ppo_loss
from lifeq_jax.rl.rollout import begin, no_returns, pixels, rollout, samples_of
from lifeq_jax.train.network import network
from lifeq_jax.train.step import add_totals, fresh_state, make_step, zero_totals

SHAPE, ENVS, STEPS = (5, 3, 1), 16, 16
HEADS = game_heads((3, 3))
FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)
NET = network(MODELS["minatar"](8, FLOAT, num_values=2, features=4, hidden=16), SHAPE)
CATCH = make_game("catch/catch", SHAPE)
PARAMS = MODELS["minatar"](8, FLOAT, num_values=2, features=4, hidden=16).init(
    jax.random.key(0), jnp.zeros((1, *SHAPE)), False
)["params"]
LESSON = Lesson(head_of(HEADS, 1), *(jnp.int32(number) for number in (5, 0, 1)))


def evaluate(params, image):
    return NET.evaluate(params, image, {}).logits


class Agent:
    """The state of a fresh agent and what makes steps of it."""

    def __init__(self, method=Method(), ppo=PPO(epochs=2, minibatches=4), rate=3e-3):  # noqa: B008
        weights = adam_by_progress(constant(rate), 1e-5)
        optimizer = method_chain(method.gradients, weights, weights, method.constraint, 0.5)
        self.ppo, self.objective = ppo, objective(NET, method, ppo)
        self.step = make_step(self.objective, NET, method, optimizer)
        self.update = make_update(CATCH, evaluate, self.step, ppo, STEPS)
        self.state = fresh_state(method, optimizer, StageStart(PARAMS, 2, 8), {}, jnp.ones(8), 100)

    def learning(self):
        return LearnerState(self.state, zero_totals(self.objective), no_returns(ENVS))


@functools.cache
def play():
    return jax.jit(begin, static_argnums=(0, 1))(CATCH, ENVS, jax.random.key(1))


@functools.cache
def played_on(number):
    """(play, rollout) of a fresh agent."""
    run = jax.jit(rollout, static_argnums=(0, 1, 6))
    return run(CATCH, evaluate, PARAMS, LESSON.head, play(), number_key(number), STEPS)


def number_key(number):
    return jax.random.split(jax.random.key(7))[number]


def minibatch():
    samples = samples_of(played_on(0)[1], jnp.zeros(ENVS), LESSON.head, PPO())
    return Minibatch(samples, LESSON.head, LESSON.task)


def test_the_objective_is_ppos_loss_of_the_games_own_outputs():
    given, agent = minibatch(), Agent()
    (value, measured), gradient = jax.jit(
        jax.value_and_grad(
            lambda params: agent.objective.loss(params, agent.state, given, jax.random.key(0)), has_aux=True
        )
    )(PARAMS)
    outputs = evaluate(PARAMS, pixels(given.samples.image))
    logits = jnp.concatenate([jnp.full((len(outputs), 3), OUT), outputs[:, 3:6], jnp.full((len(outputs), 2), OUT)], 1)
    expected, terms = ppo_loss(logits, outputs[:, 7], given.samples, agent.ppo)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(measured.counts, terms, rtol=1e-5, atol=1e-7)
    kernel = gradient["classifier"]["dense"]["kernel"]
    assert np.all(kernel[:, jnp.array([0, 1, 2, 6])] == 0)  # the other game's
    assert np.all(np.abs(kernel[:, jnp.array([3, 4, 5, 7])]).max(0) > 0)


def test_what_a_method_adds_is_minimized_too():
    seen = {}

    def further(state, loss, forward):
        seen.update(batch=forward.batch, other=forward.evaluate(PARAMS, forward.batch.image).logits)
        return loss(forward.examples) + 3.0 * jnp.sum(forward.outputs.logits, axis=1)

    agent, given = Agent(Method(example_loss=further)), minibatch()
    value, measured = agent.objective.loss(PARAMS, agent.state, given, jax.random.key(0))
    outputs = evaluate(PARAMS, pixels(given.samples.image))
    np.testing.assert_allclose(measured.further, 3 * jnp.mean(jnp.sum(outputs, axis=1)), rtol=1e-5)
    np.testing.assert_allclose(value, measured.value + measured.further, rtol=1e-6)
    np.testing.assert_allclose(seen["other"], outputs, rtol=1e-6)
    assert seen["batch"].classes.shape == (ENVS * STEPS, 8)
    assert seen["batch"].classes[0].tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert set(seen["batch"].task.tolist()) == {1}


def test_an_update_is_a_rollout_and_the_steps_of_its_minibatches():
    agent = Agent()
    found, after = jax.jit(agent.update)(agent.learning(), play(), LESSON, jax.random.key(7))
    last, played = played_on(0)
    samples = samples_of(played, value_of(evaluate(PARAMS, pixels(last.image)), LESSON.head), LESSON.head, agent.ppo)
    state, totals, step = agent.state, zero_totals(agent.objective), jax.jit(agent.step)
    for rows in minibatch_order(number_key(1), ENVS * STEPS, agent.ppo):
        part = Minibatch(jax.tree.map(lambda column, rows=rows: column[rows], samples), LESSON.head, LESSON.task)
        state, new = step(state, part, key_for(5, 0, 1, state.step))
        totals = add_totals(totals, new)
    assert int(found.state.step) == 8
    for a, b in zip(jax.tree.leaves((found.state, found.totals)), jax.tree.leaves((state, totals)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.array_equal(after.image, last.image)
    assert float(found.returns.games) == played.outcome.over.sum()


def test_an_agent_learns_to_catch():
    agent = Agent(ppo=PPO(epochs=3, minibatches=4, gamma=0.9))
    update = jax.jit(agent.update, donate_argnums=(0, 1))
    learning, now = jax.tree.map(jnp.copy, (agent.learning(), play()))
    means = []
    for number in range(45):
        learning, now = update(learning, now, LESSON, jax.random.key(number))
        if number % 15 == 14:
            means.append(float(learning.returns.total / learning.returns.games))
            learning = learning._replace(returns=no_returns(ENVS))
    assert means[0] < 3
    assert means[-1] > 12  # of 20


def test_a_batch_for_methods():
    batch = batch_of_actions(jnp.full((2, 1, 1, 1), 51, jnp.uint8), jnp.array([3, 4]), LESSON.head, LESSON.task)
    np.testing.assert_allclose(batch.image, 0.2)
    assert batch.label.tolist() == [3, 4]
    assert batch.weight.tolist() == [1, 1]
    assert not batch.is_replay.any()
