"""The front door: the functions that `import lifeq_jax` offers in addition to the rooms' own makers and records."""
