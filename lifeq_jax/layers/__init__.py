"""Flax layers around the quantizers, and batch normalization."""
