"""Numbers of a sequence of games, by hand."""

import numpy as np
import pytest

from lifeq_jax.metrics.games import beats_chance, forward_transfer, lost, normalized_returns


def test_beats_chance_by_two_standard_errors():
    assert beats_chance((6.1, 0.6), (4.0, 0.8))  # their difference has the standard error 1
    assert not beats_chance((5.9, 0.6), (4.0, 0.8))


def test_normalized():
    returns = np.array([[12.0, -3.0], [7.0, 5.0]])
    found = normalized_returns(returns, single=np.array([12.0, 5.0]), chance=np.array([2.0, -3.0]))
    np.testing.assert_allclose(found, [[1.0, 0.0], [0.5, 1.0]])


def test_lost():
    np.testing.assert_allclose(lost(np.array([[9.0, 0, 0], [5, 7.0, 0], [4.0, 8.0, 3.0]])), [5, -1])


def test_forward_transfer():
    alone = np.array([0.0, 0.4, 0.8])  # mean 0.4
    assert forward_transfer(alone, alone) == 0
    assert forward_transfer(np.array([0.7, np.nan]), alone) == pytest.approx(0.5)
    assert forward_transfer(np.array([0.1]), alone) == pytest.approx(-0.5)
    assert np.isnan(forward_transfer(alone, np.ones(2)))
