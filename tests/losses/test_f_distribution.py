"""The F quantile by hand and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lifeq_jax.losses.f_distribution import f_quantile

QUANTILE = jax.jit(f_quantile)
PROBABILITIES = np.array([0.05, 0.5, 0.9, 0.95, 0.99, 0.999], np.float32)
DFN = np.array([1, 2, 5, 9, 99, 311, 999], np.float32)
DFD = np.array([1, 2, 7, 54, 118, 1000, 20415, 1e5, 1e6], np.float32)


def test_by_hand():
    p = jnp.array([0.05, 0.3, 0.5, 0.95])
    np.testing.assert_allclose(QUANTILE(p, 2.0, 2.0), p / (1 - p), rtol=1e-5)  # P(F < x) = x / (1 + x)
    np.testing.assert_allclose(QUANTILE(p, 1.0, 1.0), jnp.tan(jnp.pi / 2 * p) ** 2, rtol=1e-5)  # a squared Cauchy
    np.testing.assert_allclose(QUANTILE(0.5, jnp.array([3.0, 50.0]), jnp.array([3.0, 50.0])), 1.0, rtol=1e-6)


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_as_scipy(probability):
    dfn, dfd = (grid.ravel() for grid in np.meshgrid(DFN, DFD))
    upper = np.float64(np.float32(1) - probability)  # what float32 can tell of it
    expected = scipy.stats.f.isf(upper, dfn.astype(float), dfd.astype(float))
    np.testing.assert_allclose(QUANTILE(np.full_like(dfn, probability), dfn, dfd), expected, rtol=1e-5)


def test_vmapped_and_without_host():
    one = jnp.array([QUANTILE(0.95, k, 100.0) for k in (1.0, 4.0)])
    np.testing.assert_allclose(jax.vmap(lambda k: f_quantile(0.95, k, 100.0))(jnp.array([1.0, 4.0])), one, rtol=1e-6)
    assert "callback" not in str(jax.make_jaxpr(f_quantile)(0.95, 3.0, 100.0))
