"""Learning from a rollout: the objective of a training step, and the steps of an update."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.keys import key_for
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.losses.base import Examples
from lifeq_jax.methods.base import Forward, Method, Outputs
from lifeq_jax.rl.games import Game
from lifeq_jax.rl.heads import Head, logits_of, value_of
from lifeq_jax.rl.ppo import PPO, Samples, Terms, minibatch_order, ppo_loss
from lifeq_jax.rl.rollout import ActorCritic, Play, Returns, Rollout, add_returns, pixels, rollout, samples_of
from lifeq_jax.train.network import Network
from lifeq_jax.train.step import Measured, Objective, Step, Totals, TrainState, add_totals


class Minibatch(NamedTuple):
    """B steps of one game."""

    samples: Samples
    head: Head
    task: jax.Array  # () int32, the game's index in the sequence


def batch_of_actions(image: jax.Array, label: jax.Array, head: Head, task: jax.Array) -> Batch:
    """Observations (B, H, W, C) uint8 with the outputs (B,) of their actions as labels: a batch, as methods expect."""
    size = len(label)
    return Batch(
        image=pixels(image),
        label=label,
        weight=jnp.ones(size),
        task=jnp.full(size, task, jnp.int32),
        is_replay=jnp.zeros(size, bool),
        index=jnp.full(size, -1, jnp.int32),
        classes=jnp.broadcast_to(head.classes, (size, len(head.classes))),
    )


def _no_loss(examples: Examples) -> jax.Array:
    """Given to a method in place of a recipe's loss: PPO's loss is not a mean over examples."""
    return jnp.zeros(len(examples.label))


def objective(network: Network, method: Method, ppo: PPO) -> Objective:
    """PPO's loss of a Minibatch plus `method.example_loss`; counts are the sums of its Terms over steps."""

    def loss(params: PyTree, state: TrainState, given: Minibatch, key: jax.Array) -> tuple[jax.Array, Measured]:
        def evaluate(others: PyTree, image: jax.Array) -> Outputs:
            return network.evaluate(others, image, state.batch_stats)

        samples, head = given.samples, given.head
        batch = batch_of_actions(samples.image, samples.label, head, given.task)
        alike = jnp.ones(len(samples.label))  # one share for all examples, since states have no classes
        outputs, batch_stats = network.train(params, state.batch_stats, batch.image, alike, key, False)
        value, terms = ppo_loss(logits_of(outputs.logits, head), value_of(outputs.logits, head), samples, ppo)
        progress = state.step / state.num_steps
        examples = Examples(outputs.logits, outputs.feature, batch.label, batch.weight, state.counts, progress)
        forward = Forward(batch, outputs, examples, evaluate)
        further = jnp.mean(method.example_loss(state.method_state, _no_loss, forward))
        return value + further, Measured(value, further, terms, batch_stats)

    return Objective(loss, lambda: Terms(*(jnp.zeros(()) for _ in Terms._fields)))


class Lesson(NamedTuple):
    """The seed and the place of an update: data, not constants, of the compiled programs."""

    head: Head
    seed: jax.Array  # () int32
    stage: jax.Array  # () int32
    task: jax.Array  # () int32


def make_minibatch_step(step: Step) -> Callable[..., tuple[TrainState, Totals]]:
    """(state, totals, samples of a rollout, rows (B,) of it, lesson) -> (state, totals)."""

    def one(
        state: TrainState, totals: Totals, samples: Samples, rows: jax.Array, lesson: Lesson
    ) -> tuple[TrainState, Totals]:
        given = Minibatch(jax.tree.map(lambda part: part[rows], samples), lesson.head, lesson.task)
        state, new = step(state, given, key_for(lesson.seed, lesson.stage, lesson.task, state.step))
        return state, add_totals(totals, new)

    return one


class LearnerState(NamedTuple):
    """All that an update changes; donated."""

    state: TrainState
    totals: Totals
    returns: Returns


def samples_and_returns(
    evaluate: ActorCritic, ppo: PPO, params: PyTree, played: Rollout, last: jax.Array, head: Head, returns: Returns
) -> tuple[Samples, Returns]:
    """The samples of a rollout that ended in the observations `last` (N, H, W, C), and the returns after it."""
    last_value = value_of(evaluate(params, pixels(last)), head)
    return samples_of(played, last_value, head, ppo), add_returns(returns, played.outcome)


def make_update(
    game: Game, evaluate: ActorCritic, step: Step, ppo: PPO, steps: int
) -> Callable[[LearnerState, Play, Lesson, jax.Array], tuple[LearnerState, Play]]:
    """Makes the update of a compiled game: (learner state, play, lesson, key) -> (learner state, play).

    An update is a rollout of `steps` steps and PPO's passes over it, as one traceable function."""
    minibatch_step = make_minibatch_step(step)

    def update(learning: LearnerState, play: Play, lesson: Lesson, key: jax.Array) -> tuple[LearnerState, Play]:
        of_play, of_order = jax.random.split(key)
        params = learning.state.params
        play, played = rollout(game, evaluate, params, lesson.head, play, of_play, steps)
        samples, returns = samples_and_returns(evaluate, ppo, params, played, play.image, lesson.head, learning.returns)

        def one(carry: tuple[TrainState, Totals], rows: jax.Array) -> tuple[tuple[TrainState, Totals], None]:
            return minibatch_step(*carry, samples, rows, lesson), None

        order = minibatch_order(of_order, len(samples.label), ppo)
        (state, totals), _ = jax.lax.scan(one, (learning.state, learning.totals), order)
        return LearnerState(state, totals, returns), play

    return update
