"""Fine-tuning: no protection of old tasks."""

from lifeq_jax.methods.base import Method


def finetune() -> Method:
    """Trains on each task without a penalty. With replay in the data this is the baseline `finetune + replay`.

    Example:
        >>> lq.methods.finetune().is_idle_at_first
        True
    """
    return Method()
