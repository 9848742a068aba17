"""Continual-learning metrics, computed from an accuracy matrix."""

from lifeq_jax.metrics.continual import CONTINUAL

globals().update(CONTINUAL)  # its rows by name: lifeq_jax.metrics.forgetting(matrix)

__all__ = [*CONTINUAL]
