"""Continual-learning metrics, functions of an accuracy matrix that lifeq_jax.metrics.continual describes."""

from lifeq_jax.metrics.continual import CONTINUAL

globals().update(CONTINUAL)  # its rows by name: lifeq_jax.metrics.forgetting(matrix)

__all__ = [*CONTINUAL]
