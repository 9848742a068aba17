"""Learning from a rollout: what a training step minimizes, and the steps of an update."""

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
from lifeq_jax.rl.rollout import Evaluate, Play, Returns, Rollout, add_returns, pixels, rollout, samples_of
from lifeq_jax.train.network import Network
from lifeq_jax.train.step import Measured, Objective, Step, Totals, TrainState, add_totals


class Minibatch(NamedTuple):
    """B steps of one game."""

    samples: Samples
    head: Head
    task: jax.Array  # () int32, the game's place in the sequence


def batch_of(image: jax.Array, label: jax.Array, head: Head, task: jax.Array) -> Batch:
    """Pairs of an observation (B, H, W, C) uint8 and the output of an action (B,) as methods see examples."""
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
    """A method gets this in place of a recipe's loss: PPO's is one of the whole batch."""
    return jnp.zeros(len(examples.label))


def objective(network: Network, method: Method, ppo: PPO) -> Objective:
    """PPO's loss of a Minibatch, and what `method` makes of the batch; counts are the sums of its Terms over steps."""

    def loss(params: PyTree, state: TrainState, given: Minibatch, key: jax.Array) -> tuple[jax.Array, Measured]:
        def evaluate(others: PyTree, image: jax.Array) -> Outputs:
            return network.evaluate(others, image, state.batch_stats)

        samples, head = given.samples, given.head
        batch = batch_of(samples.image, samples.label, head, given.task)
        alike = jnp.ones(len(samples.label))  # states have no classes
        outputs, batch_stats = network.train(params, state.batch_stats, batch.image, alike, key, False)
        value, terms = ppo_loss(logits_of(outputs.logits, head), value_of(outputs.logits, head), samples, ppo)
        progress = state.step / state.num_steps
        examples = Examples(outputs.logits, outputs.feature, batch.label, batch.weight, state.counts, progress)
        forward = Forward(batch, outputs, examples, evaluate)
        further = jnp.mean(method.example_loss(state.method_state, _no_loss, forward))
        return value + further, Measured(value, further, terms, batch_stats)

    return Objective(loss, lambda: Terms(*(jnp.zeros(()) for _ in Terms._fields)))


class Lesson(NamedTuple):
    """Where randomness comes from, and which game is learned: numbers that are data of the compiled programs."""

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


class Learning(NamedTuple):
    """What an update changes; donated."""

    state: TrainState
    totals: Totals
    returns: Returns


def samples_and_returns(
    evaluate: Evaluate, ppo: PPO, params: PyTree, played: Rollout, last: jax.Array, head: Head, returns: Returns
) -> tuple[Samples, Returns]:
    """The rows of a rollout that ended in the observations `last` (N, H, W, C), and the returns after it."""
    last_value = value_of(evaluate(params, pixels(last)), head)
    return samples_of(played, last_value, head, ppo), add_returns(returns, played.outcome)


def make_update(
    game: Game, evaluate: Evaluate, step: Step, ppo: PPO, steps: int
) -> Callable[[Learning, Play, Lesson, jax.Array], tuple[Learning, Play]]:
    """(learning, play, lesson, key) -> the same after a rollout of `steps` steps and what is learned from it: one
    program, traceable, of a compiled game."""
    minibatch_step = make_minibatch_step(step)

    def update(learning: Learning, play: Play, lesson: Lesson, key: jax.Array) -> tuple[Learning, Play]:
        of_play, of_order = jax.random.split(key)
        params = learning.state.params
        play, played = rollout(game, evaluate, params, lesson.head, play, of_play, steps)
        samples, returns = samples_and_returns(evaluate, ppo, params, played, play.image, lesson.head, learning.returns)

        def one(carry: tuple[TrainState, Totals], rows: jax.Array) -> tuple[tuple[TrainState, Totals], None]:
            return minibatch_step(*carry, samples, rows, lesson), None

        order = minibatch_order(of_order, len(samples.label), ppo)
        (state, totals), _ = jax.lax.scan(one, (learning.state, learning.totals), order)
        return Learning(state, totals, returns), play

    return update
