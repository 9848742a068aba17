"""Proximal policy optimization: advantages, losses and the order of minibatches, as pure functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.losses.classify import cross_entropy_of_labels


class PPO(NamedTuple):
    """The constants of the algorithm."""

    gamma: float = 0.99  # discount of a reward one step later
    gae_lambda: float = 0.95
    epochs: int = 4  # passes over a rollout
    minibatches: int = 8  # of a pass
    clip: float = 0.1  # of the probability ratio around 1, and of a value around its old prediction
    value_coef: float = 0.5
    entropy_coef: float = 0.01
    clip_value: bool = True
    clip_reward: bool = True  # to its sign


class Samples(NamedTuple):
    """B steps of play as arguments of the loss."""

    image: jax.Array  # (B, H, W, C) uint8
    label: jax.Array  # (B,) int32, index of the action's output
    log_prob: jax.Array  # (B,) float32, of the action when it was taken, nats
    value: jax.Array  # (B,) float32, predicted value of the state at that time
    returns: jax.Array  # (B,) float32, its target: advantage + value
    advantage: jax.Array  # (B,) float32, normalized


class Terms(NamedTuple):
    """The terms of the loss, means over a minibatch."""

    policy: jax.Array
    value: jax.Array
    entropy: jax.Array  # nats
    clipped: jax.Array  # share of the steps whose ratio is outside the clip range


def gae(
    reward: jax.Array,
    value: jax.Array,
    last_value: jax.Array,
    done: jax.Array,
    truncated: jax.Array,
    gamma: float,
    gae_lambda: float,
) -> jax.Array:
    """Generalized advantage estimates (T, N) of T steps in N environments.

    A_t = r_t + gamma V_{t+1} - V_t + gamma lambda A_{t+1}, without the terms of t+1 if the episode is `done` after step
    t; `last_value` (N,) is V_T. An episode cut off by a time limit (`truncated` and `done`) has A = 0 at its last step,
    so that earlier steps bootstrap from the value of its last state. lambda = 1 gives discounted returns minus values.
    Source: Schulman et al., ICLR 2016, eq. (16); BLIP's storage.py, whose experiments treat time limits as ends
    (truncated all False)."""

    def before(carry: tuple[jax.Array, jax.Array], step: tuple[jax.Array, ...]) -> tuple:
        advantage, next_value = carry
        reward, value, done, truncated = step
        goes_on = 1.0 - done
        delta = reward + gamma * next_value * goes_on - value
        advantage = (delta + gamma * gae_lambda * goes_on * advantage) * (1.0 - truncated)
        return (advantage, value), advantage

    steps = (reward, value, done.astype(jnp.float32), truncated.astype(jnp.float32))
    return jax.lax.scan(before, (jnp.zeros_like(last_value), last_value), steps, reverse=True)[1]


def normalized_advantage(advantage: jax.Array) -> jax.Array:
    """(A - mean) / (sample standard deviation + 1e-5) over the whole array."""
    return (advantage - jnp.mean(advantage)) / (jnp.std(advantage, ddof=1) + 1e-5)


def ppo_loss(logits: jax.Array, value: jax.Array, samples: Samples, ppo: PPO) -> tuple[jax.Array, Terms]:
    """policy + value_coef * value - entropy_coef * entropy, and its terms, from logits (B, K) and values (B,).

    policy: -mean min(rho A, clip(rho) A), rho the ratio of the action's probability now to that when it was taken.
    value: half the mean of max((V - R)^2, (V_clipped - R)^2), with V clipped to `clip` around its old prediction
    (clip_value=False: half the mean of (V - R)^2). Outputs of other games have the logit `losses.classify.OUT` and so
    affect no term. Source: Schulman et al., Proximal policy optimization algorithms, 2017, eq. (7) and (9); BLIP's
    ppo.py."""
    ratio = jnp.exp(-cross_entropy_of_labels(logits, samples.label) - samples.log_prob)
    inside = jnp.clip(ratio, 1.0 - ppo.clip, 1.0 + ppo.clip)
    policy = -jnp.mean(jnp.minimum(ratio * samples.advantage, inside * samples.advantage))
    errors = jnp.square(value - samples.returns)
    if ppo.clip_value:
        near = samples.value + jnp.clip(value - samples.value, -ppo.clip, ppo.clip)
        errors = jnp.maximum(errors, jnp.square(near - samples.returns))
    terms = Terms(policy, 0.5 * jnp.mean(errors), jnp.mean(entropy(logits)), jnp.mean(ratio != inside))
    return terms.policy + ppo.value_coef * terms.value - ppo.entropy_coef * terms.entropy, terms


def entropy(logits: jax.Array) -> jax.Array:
    """The entropy of each row's softmax: (B, K) -> (B,) nats."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def minibatch_order(key: jax.Array, size: int, ppo: PPO) -> jax.Array:
    """The rows of each minibatch, from a rollout of `size` steps: (epochs * minibatches, size // minibatches) int32.

    Every pass has its own order; rows that do not fill a minibatch are left out of the pass."""
    rows = size // ppo.minibatches

    def one_pass(key: jax.Array) -> jax.Array:
        return jax.random.permutation(key, size)[: rows * ppo.minibatches].reshape(ppo.minibatches, rows)

    return jnp.concatenate([one_pass(jax.random.fold_in(key, number)) for number in range(ppo.epochs)])
