"""The learning rate that falls when the validation loss does not, against the original's schedule."""

import math

import pytest

from lifeq_jax.core.config import Optimizer
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.selection import after_epoch, fresh_patience, is_spent

CASES = {"r0": 0.01, "r1": 0.05, "r2": 0.05, "r3": 0.01}  # recorded schedules by their first rate


def followed(losses, rate, optimizer):
    """(rates of the epochs that run, the epoch whose weights are kept; -1 for the initial ones)."""
    patience, lowest, best, rates = fresh_patience(optimizer), float("inf"), -1, []
    for epoch, loss in enumerate(losses):
        rates.append(rate * patience.rate_factor)
        if math.isnan(loss):  # ends the original's task; ours raises Diverged
            break
        improved = bool(loss < lowest)
        if improved:
            lowest, best = loss, epoch
        patience = after_epoch(patience, improved, optimizer)
        if is_spent(patience, rate, optimizer):
            break
    return rates, best


@pytest.mark.parametrize("case", sorted(CASES))
def test_rates_epochs_and_the_kept_epoch_are_the_originals(golden, case):
    recorded = golden("blip_lr_patience")
    rates, best = followed(recorded[f"{case}_val_loss"], CASES[case], Optimizer(schedule="constant", patience=5))
    assert len(rates) == recorded[f"{case}_epochs_run"]
    assert rates == pytest.approx(recorded[f"{case}_lr"], rel=1e-9)
    assert best == recorded[f"{case}_best_epoch"]


def test_without_patience_nothing_happens():
    optimizer = Optimizer()
    patience = after_epoch(fresh_patience(optimizer), False, optimizer)
    assert patience.rate_factor == 1.0
    assert not is_spent(patience, 1e-9, optimizer)


def test_patience_needs_the_loss_to_select(recipe, changed):
    with pytest.raises(Refusal, match=r"optimizer.patience=5 needs recipe.selection='lowest_loss'"):
        changed(recipe, {"validation": 0.2}, optimizer=Optimizer(patience=5), selection="best")
