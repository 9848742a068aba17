"""Which outputs of a network are a game's actions, and which one is its value."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.losses.classify import cross_entropy_of_labels, of_head


class Head(NamedTuple):
    """A game's part of the K outputs; for T games, arrays have a leading axis T. Arrays on the device."""

    classes: jax.Array  # (K,) bool, which outputs are its actions
    first: jax.Array  # () int32, index of the output of its action 0
    value: jax.Array  # () int32, index of the output that is its value


def game_heads(num_actions: Sequence[int]) -> Head:
    """The heads of T games from their numbers of actions. Outputs are the actions of all games, then the T values."""
    ends = np.cumsum(num_actions)
    first, outputs = ends - num_actions, np.arange(ends[-1] + len(num_actions))
    classes = (outputs[None] >= first[:, None]) & (outputs[None] < ends[:, None])
    return Head(jnp.asarray(classes), jnp.asarray(first, jnp.int32), jnp.asarray(outputs[ends[-1] :], jnp.int32))


def head_of(heads: Head, task: int) -> Head:
    """The head of one game."""
    return jax.tree.map(lambda part: part[task], heads)


def logits_of(outputs: jax.Array, head: Head) -> jax.Array:
    """outputs (B, K) with `losses.classify.OUT` in place of all but the game's actions."""
    return of_head(outputs, jnp.broadcast_to(head.classes, outputs.shape))


def value_of(outputs: jax.Array, head: Head) -> jax.Array:
    """The game's values (B,) from outputs (B, K)."""
    return outputs[:, head.value]


class Choice(NamedTuple):
    """The actions of an agent in B states."""

    action: jax.Array  # (B,) int32, the game's own number
    log_prob: jax.Array  # (B,) float32, nats
    value: jax.Array  # (B,) float32


class Manner(enum.IntEnum):
    """How an action is chosen."""

    DRAWN = 0  # from the policy
    GREEDY = 1  # the most probable one
    BLIND = 2  # uniformly at random


def choose(outputs: jax.Array, head: Head, key: jax.Array, manner: jax.Array | int = Manner.DRAWN) -> Choice:
    """An action for each row of outputs (B, K); `manner` may be traced."""
    logits = logits_of(outputs, head)
    drawn = jax.random.categorical(key, logits_of(jnp.where(manner == Manner.BLIND, 0.0, outputs), head))
    label = jnp.where(manner == Manner.GREEDY, jnp.argmax(logits, axis=-1), drawn)
    return Choice(
        (label - head.first).astype(jnp.int32), -cross_entropy_of_labels(logits, label), value_of(outputs, head)
    )
