"""The front door: what `import lifeq_jax` offers, beside the rooms' own makers and records."""
