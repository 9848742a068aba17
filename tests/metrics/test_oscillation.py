"""Shares of weights and distances to the grid, by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.metrics.oscillation import BINS, grid_distance, histogram, oscillations
from lifeq_jax.quant import QUANTIZERS

LSQ = QUANTIZERS["lsq"]


class Tracked(NamedTuple):
    frequency: jax.Array
    frozen: jax.Array


def layer(scale, *kernel):
    return {"kernel": jnp.array([kernel]), "quantizer": {"scale": jnp.float32(scale), "low": jnp.float32(-4)}}


PARAMS = {"one": layer(0.5, 0.6, -1.2), "two": layer(0.1, 0.1, 9.0, 0.149), "bias": jnp.zeros(2)}
TABLE = {f"{name}/kernel": LSQ(3) for name in ("one", "two")}
TRACKS = {
    "one/kernel": Tracked(jnp.array([[0.006, 0.3]]), jnp.array([[False, True]])),
    "two/kernel": Tracked(jnp.array([[0.005, 0.2, 0.004]]), jnp.array([[False, False, True]])),
}


def test_distance_by_hand():
    # 0.6 is 1.2 steps: 0.2 above code 1; -1.2 is 0.4 below -2; 9 is beyond the grid: on its outermost point
    learned, kernel = PARAMS["one"]["quantizer"], jnp.array([0.6, -1.2, 9.0])
    actual = grid_distance(LSQ(3).relax(learned, kernel), LSQ(3).codes(learned, kernel))
    np.testing.assert_allclose(actual, [0.2, -0.4, 0.0], atol=1e-6)


def test_histogram_by_hand():
    # five bins of 0.2: [-0.5, -0.3), [-0.3, -0.1), ..., the outer ones take what lies beyond
    values = jnp.array([[-0.5, -0.31, -0.29, 0.0], [0.09, 0.31, 0.5, 0.7]])
    np.testing.assert_array_equal(histogram(values, 5), [2, 1, 2, 0, 3])


def test_shares_of_all_weights_together():
    found = jax.jit(lambda params, tracks: oscillations(TABLE, params, tracks))(PARAMS, TRACKS)
    np.testing.assert_allclose(found.oscillating, 2 / 5)  # 0.006 and 0.2; 0.3 is frozen, 0.005 not above itself
    np.testing.assert_allclose(found.frozen, 2 / 5)
    assert found.distances.shape == (BINS,)
    assert found.distances.dtype == jnp.int32
    # 0.2, -0.4, 0, 0 and 0.49 of a step; the first two are on an edge of the bins
    counts = np.array(found.distances)
    assert (counts[13:15].sum(), counts[1:3].sum(), counts[9:11].sum(), counts[19], counts.sum()) == (1, 1, 2, 1, 5)


def test_own_threshold():
    np.testing.assert_allclose(oscillations(TABLE, PARAMS, TRACKS, threshold=0.1).oscillating, 1 / 5)


def test_only_what_is_tracked_counts():
    tracks = {"one/kernel": TRACKS["one/kernel"]}
    found = oscillations(TABLE, PARAMS, tracks)
    np.testing.assert_allclose((found.oscillating, found.frozen), (1 / 2, 1 / 2))
    assert int(found.distances.sum()) == 2


@pytest.mark.parametrize("name", ["lsq", "minmax", "proxq"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_distances_stay_within_half_a_step(name, bits):
    quantizer, kernel = QUANTIZERS[name](bits), jax.random.normal(jax.random.key(bits), (3, 3, 4, 8))
    learned = quantizer.init(kernel)
    away = grid_distance(quantizer.relax(learned, kernel), quantizer.codes(learned, kernel))
    assert float(jnp.max(jnp.abs(away))) <= 0.5 + 1e-5
    assert float(jnp.std(away)) > 0.1
