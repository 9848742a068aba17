"""What a sequence of games did to an agent: returns on one scale for all games, and transfer to a new one.

R is (T, T), the mean return in game j after learning game i. Games count from 0."""

import math

import numpy as np


def beats_chance(single: tuple[float, float], chance: tuple[float, float]) -> bool:
    """Whether an agent that learned a game alone is more than two standard errors better than one that acts at random;
    each is (mean return, its standard error)."""
    return single[0] - chance[0] > 2 * math.hypot(single[1], chance[1])


def normalized(returns: np.ndarray, single: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """(R - chance) / (single - chance), column by column: (..., T) of (..., T) and (T,) mean returns.

    0 is an agent that acts at random, 1 one that learned the game alone. A game whose `single` does not beat chance
    (`beats_chance`) has no such scale: the ratio would be noise."""
    return (returns - chance) / (single - chance)


def forward_transfer(curve: np.ndarray, alone: np.ndarray) -> float:
    """(AUC - AUC_alone) / (1 - AUC_alone), AUC the mean of a curve of normalized returns over the time of learning.

    Above 0 a game is learned faster after the others than alone. `curve` and `alone` may differ in length. NaN where
    the game is learned at once, AUC_alone = 1. Source: Wolczyk et al., Continual World, NeurIPS 2021, section 3.3."""
    mean, mean_alone = (float(np.nanmean(one)) for one in (curve, alone))
    return (mean - mean_alone) / (1 - mean_alone) if mean_alone != 1 else math.nan


def lost(matrix: np.ndarray) -> np.ndarray:
    """(T - 1,) R[j, j] - R[T-1, j]: by how much the return in each game but the last is lower at the end than when the
    game had been learned."""
    return np.diag(matrix)[:-1] - matrix[-1, :-1]
