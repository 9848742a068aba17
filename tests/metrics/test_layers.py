"""What a method did to a whole network: by hand, and BLIP's own capacity."""

import numpy as np
import pytest

from lifeq_jax.metrics.layers import whole_network
from tests import vectors


def layer(bits, values, **units):
    """A layer of `values` values with a mean of `bits` frozen bits of 20."""
    return {"bits": bits, "capacity": bits / 20, "values": values, **units}


def test_by_hand():
    found = {
        "a/kernel": layer(5.0, 30, units=6, dead_units=1),
        "a/bias": layer(1.0, 6),
        "b/kernel": layer(20.0, 4, units=2, dead_units=1),
    }
    expected = {"capacity": (5 * 30 + 1 * 6 + 20 * 4) / (20 * 40), "dead_units": 2 / 8}
    assert whole_network(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("bits", "dead", "share"), [(0.0, 0, 0.0), (20.0, 3, 1.0)])
def test_nothing_and_everything(bits, dead, share):
    found = {"a/kernel": layer(bits, 9, units=3, dead_units=dead)}
    assert whole_network(found) == {"capacity": share, "dead_units": share}


def test_nothing_measured():
    assert whole_network({}) == {}


@pytest.mark.parametrize("case", [case for case, args in vectors.cases("blip_metrics").items() if "max_bit" in args])
def test_capacity_is_the_original(case):
    arrays, max_bits = vectors.arrays("blip_metrics"), vectors.cases("blip_metrics")[case]["max_bit"]
    kernel, bias = arrays[f"{case}_bits_w"], arrays[f"{case}_bits_b"]
    found = {
        name: {"capacity": bits.mean() / max_bits, "values": bits.size, **units}
        for name, bits, units in [("a/kernel", kernel, {"units": len(kernel), "dead_units": 0}), ("a/bias", bias, {})]
    }
    np.testing.assert_allclose(whole_network(found)["capacity"], arrays[f"{case}_capacity"], rtol=1e-12)
