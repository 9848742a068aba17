"""Metrics of an agent that learns a sequence of games: normalized returns, forgetting, and forward transfer.

R is (T, T), the mean return in game j after learning game i. Games count from 0."""

import math

import numpy as np


def beats_chance(single: tuple[float, float], chance: tuple[float, float]) -> bool:
    """Whether an agent trained on a game alone is more than two standard errors better than a random agent.

    Each argument is (mean return, its standard error)."""
    return single[0] - chance[0] > 2 * math.hypot(single[1], chance[1])


def normalized_returns(returns: np.ndarray, single: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """(R - chance) / (single - chance), column by column: (..., T) of (..., T) and (T,) mean returns.

    0 is an agent that acts at random, 1 one trained on the game alone. Meaningless for a game whose `single` does not
    beat chance (`beats_chance`): the ratio is then noise."""
    return (returns - chance) / (single - chance)


def forward_transfer(curve: np.ndarray, alone: np.ndarray) -> float:
    """(AUC - AUC_alone) / (1 - AUC_alone), AUC the mean of a curve of normalized returns over the time of learning.

    Above 0, the game is learned faster after the others than alone. `curve` and `alone` may differ in length. NaN if
    AUC_alone = 1. Source: Wolczyk et al., Continual World, NeurIPS 2021, section 3.3."""
    mean, mean_alone = (float(np.nanmean(one)) for one in (curve, alone))
    return (mean - mean_alone) / (1 - mean_alone) if mean_alone != 1 else math.nan


def lost(matrix: np.ndarray) -> np.ndarray:
    """(T - 1,) R[j, j] - R[T-1, j]: decrease of the return in each game but the last since the game was learned."""
    return np.diag(matrix)[:-1] - matrix[-1, :-1]
