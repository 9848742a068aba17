"""Optimizers: optax transforms whose learning rate is a function of the share of a task that is done.

A row of SCHEDULES makes that function, a `Schedule`, from the rate at the start; see lifeq_jax.optim.schedules."""

from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import SCHEDULES, Schedule

globals().update(SCHEDULES)  # its rows by name: lifeq_jax.optim.cosine(0.1)

__all__ = ["Schedule", "adam_by_progress", "method_chain", "sgd_by_progress", *SCHEDULES]
