"""Fine-tuning: no protection of old tasks at all."""

from lifeq_jax.methods.base import Method


def finetune() -> Method:
    """Trains on what comes. With replay in the data this is the baseline `finetune + replay`."""
    return Method()
