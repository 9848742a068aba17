"""Optimizers as optax transforms whose rate follows the share of a task that is done; rates are made by schedules."""

from lifeq_jax.optim.chain import adam, chain, sgd
from lifeq_jax.optim.schedules import SCHEDULES

globals().update(SCHEDULES)  # its rows by name: lifeq_jax.optim.cosine(0.1)

__all__ = ["adam", "chain", "sgd", *SCHEDULES]
