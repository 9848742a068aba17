"""Fractions as users write them, seeded draws of rows, seeded orders."""

import numpy as np

from lifeq_jax.core.refusal import Refusal


def as_fraction(value: float, key: str) -> float:
    """0.25 for both 0.25 and 25: a value above 1 is in per cent, 1 is the whole. Refuses values outside (0, 100]."""
    if not 0 < value <= 100:
        raise Refusal(f"{key}={value} is out of range; choose from (0, 1], or up to 100 for per cent")
    return value / 100 if value > 1 else float(value)


def check_test_share(fraction: float) -> None:
    """Refuses a share of test images outside (0, 1)."""
    if not 0 < fraction < 1:
        raise Refusal(f"test_fraction={fraction} is out of range; choose from (0, 1)")


def num_of_share(number: int, fraction: float) -> int:
    """round(fraction * number), at least 1 and below `number`."""
    return min(max(1, round(fraction * number)), number - 1)


def stratified(label: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A mask (n,) bool of test rows: of each class round(fraction * size), at least 1 and never all of its
    rows.

    Refuses a fraction outside (0, 1) and a class of a single row."""
    check_test_share(fraction)
    random = np.random.default_rng(seed)
    mask = np.zeros(len(label), np.bool_)
    for name in np.unique(label):
        rows = random.permutation(np.flatnonzero(label == name))
        if len(rows) < 2:
            raise Refusal(f"class {name} has a single image; a train/test split needs two")
        mask[rows[: num_of_share(len(rows), fraction)]] = True
    return mask


def shuffled(number: int, seed: int) -> np.ndarray:
    """0 .. number - 1 in an order drawn with NumPy's legacy generator, (number,) int64.

    Equal to scikit-learn's `shuffle` of that range and to RandomState.permutation, which the original programs use for
    classes, tasks and pixels. Refuses a seed outside [0, 2**32)."""
    if not 0 <= seed < 2**32:
        raise Refusal(f"seed={seed} is out of range; choose from 0 to {2**32 - 1}")
    order = np.arange(number)
    np.random.RandomState(seed).shuffle(order)
    return order


def sample_rows(num_rows: int, fraction: float, seed: int) -> np.ndarray:
    """round(fraction * num_rows) row numbers without repetition, in drawn order, int64.

    Drawn with NumPy's legacy generator, as pandas' DataFrame.sample(frac, random_state=seed) does in LifeQuant
    replayDataGeneator.py, which also uses one seed for all tasks."""
    size = round(fraction * num_rows)
    return np.random.RandomState(seed).choice(num_rows, size, replace=False)
