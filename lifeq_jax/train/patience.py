"""A learning rate that falls when the validation loss stops falling, and a task that ends when the rate is spent."""

from typing import NamedTuple

from lifeq_jax.core.config import Optimizer


class Patience(NamedTuple):
    """Plain numbers, for a checkpoint's JSON."""

    left: int  # epochs without improvement until the rate falls
    rate_factor: float  # what is left of the learning rate, 0..1


def fresh_patience(optimizer: Optimizer) -> Patience:
    """At the start of a task."""
    return Patience(optimizer.patience, 1.0)


def after_epoch(patience: Patience, improved: bool, optimizer: Optimizer) -> Patience:
    """The patience after one more epoch; `improved`: its validation loss is the lowest of the task so far.

    Source: BLIP ImageClassification/src/approaches/blip.py (`Appr.train`)."""
    if improved or not optimizer.patience:
        return Patience(optimizer.patience, patience.rate_factor)
    if patience.left > 1:
        return patience._replace(left=patience.left - 1)
    return Patience(optimizer.patience, patience.rate_factor / optimizer.patience_factor)


def is_spent(patience: Patience, rate: float, optimizer: Optimizer) -> bool:
    """Whether a task of learning rate `rate` ends here."""
    return optimizer.patience > 0 and rate * patience.rate_factor < optimizer.smallest_rate
