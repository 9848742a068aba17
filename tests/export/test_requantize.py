"""Lines through thresholds: equal to the step function they stand for, at every accumulator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.export.requantize import Line, Thresholds, fit, normalized, places

LEVELS = np.arange(1, 16)


def formula_of(slope, offset):
    """float32, operation by operation, as batch norm after a convolution."""
    slope, offset = np.float32(slope), np.float32(offset)
    return lambda x: (np.float32(x) * np.float32(0.013)) * slope + offset


def codes_of(formula, x):
    return np.clip(np.round(formula(x) * np.float32(15)), 0, 15).astype(np.int64)


def found_for(slope, offset, reach):
    slope, offset = np.atleast_1d(slope), np.atleast_1d(offset)
    formula = formula_of(slope, offset)
    # the smallest float32 whose product with 15 rounds to the level: found here by trying neighbors
    edges = (LEVELS - 0.5) / 15
    edges = np.array([smallest(edge, level) for edge, level in zip(edges, LEVELS, strict=True)], np.float32)
    low, high = np.full(len(slope), -reach), np.full(len(slope), reach)
    found = places(formula, edges[:, None], low, high, slope >= 0)._replace(level=LEVELS)
    return formula, found


def smallest(edge, level):
    near = np.float32(edge)
    while np.round(near * np.float32(15)) >= level:
        near = np.nextafter(near, np.float32(-9))
    while np.round(near * np.float32(15)) < level:
        near = np.nextafter(near, np.float32(9))
    return near


def nominal(slope, offset):
    return np.abs(np.atleast_1d(slope)) * 0.013 * 15, np.atleast_1d(offset) * 15.0 + 0.5


@pytest.mark.parametrize("seed", range(4))
def test_every_accumulator_gets_the_trained_code(seed):
    random = np.random.default_rng(seed)
    slope = random.normal(0, 0.3, 40).astype(np.float32)
    slope[:2] = 0, 1e-20  # norms that let nothing through
    offset = random.normal(0.5, 0.5, 40).astype(np.float32)
    formula, found = found_for(slope, offset, 4000)
    result = fit(found, *nominal(slope, offset))
    every = np.arange(-4000, 4001)[:, None]
    np.testing.assert_array_equal(np.clip(result.line.at(every), 0, 15), codes_of(formula, every))
    assert result.misplaced == 0
    assert result.checked == np.sum((found.place > found.low) & (found.place <= found.high)) > 300
    assert np.all(np.abs(result.line.multiplier[2:].astype(np.int64)) < 2**31)


@given(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_any_line(slope, offset, reach):
    formula, found = found_for(slope, offset, reach)
    result = fit(found, *nominal(slope, offset))
    every = np.arange(-reach, reach + 1)[:, None]
    np.testing.assert_array_equal(np.clip(result.line.at(every), 0, 15), codes_of(formula, every))
    assert result.misplaced == 0


def test_places_by_hand():
    found = places(
        lambda x: np.float32(x), np.array([[-2.0], [3.0], [9.0]]), np.array([-4]), np.array([5]), np.array([True])
    )
    assert found.place[:, 0].tolist() == [-2, 3, 6]  # the last level is reached by no accumulator
    falling = places(lambda x: np.float32(-x), np.array([[2.0]]), np.array([-4]), np.array([5]), np.array([False]))
    assert (falling.place.item(), falling.sign.item(), falling.low.item(), falling.high.item()) == (2, -1, -5, 4)


def test_thresholds_on_no_line_are_counted():
    place = np.array([[0], [10], [11], [30]])  # steps of 10, 1 and 19 accumulators
    found = Thresholds(np.arange(1, 5), place, np.array([1]), np.array([-50]), np.array([50]))
    result = fit(found, np.array([0.1]), np.array([1.0]))
    assert result.checked == 4
    every = np.arange(-50, 51)
    wrong = np.sum(
        np.any((result.line.at(every)[:, None] >= np.arange(1, 5)) != (every[:, None] >= place[:, 0]), axis=0)
    )
    assert result.misplaced == wrong > 0
    assert 0.1 < result.furthest < 2


def test_accumulators_that_float32_mistakes_are_left_to_either_side():
    reach = 2**27
    found = Thresholds(
        np.array([1, 2]), np.array([[1000], [2000]]), np.array([1]), np.array([-reach]), np.array([reach])
    )
    assert found.blur.item() == 32
    result = fit(found, np.array([1e-3]), np.array([0.0]))
    assert result.misplaced == 0
    assert result.line.at(np.array([1000 + 32, 2000 + 32])).tolist() == [1, 2]
    assert result.line.at(np.array([1000 - 33, 2000 - 33])).tolist() == [0, 1]


@pytest.mark.parametrize("slope", [1e-9, 0.013, 1.0, 2.0**29, 0.9999999999])
def test_a_multiplier_is_a_positive_int32(slope):
    multiplier, shift = normalized(np.array([slope]), np.array([15]))
    assert 0 < multiplier[0] < 2**31
    assert 0 <= shift[0] <= 60
    np.testing.assert_allclose(multiplier / 2.0**shift, slope, rtol=2.0**-20)


def test_the_largest_sums_fit_into_64_bits():
    line = Line(np.array([2**31 - 1], np.int32), np.array([2**61], np.int64), np.array([61], np.uint8))
    assert line.at(np.array([2**30 - 1, -(2**30)])).tolist() == [((2**30 - 1) * (2**31 - 1) + 2**61) >> 61, 0]
