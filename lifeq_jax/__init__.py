"""Low-bit networks on data that arrives as a sequence of unbalanced tasks, in JAX."""
