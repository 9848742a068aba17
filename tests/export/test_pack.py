"""Packed integers come back as they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lifeq_jax.export.pack import pack, unpack


def test_by_hand():
    packed = pack(np.array([5, 2, 7]), 3)  # 101 010 111, the lowest bit of the first value first: 10101 011 | 1
    assert packed.tolist() == [0b11010101, 0b1]
    assert unpack(packed, 3, (3,)).tolist() == [5, 2, 7]


@pytest.mark.parametrize("bits", range(1, 17))
def test_no_bit_is_wasted(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (3, 3, 5, 7))
    packed = pack(values, bits)
    assert packed.nbytes == -(-values.size * bits // 8)
    np.testing.assert_array_equal(unpack(packed, bits, values.shape), values)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_shape(data):
    bits = data.draw(st.integers(1, 16))
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, max_side=5))
    values = data.draw(arrays(np.int64, shape, elements=st.integers(0, 2**bits - 1)))
    np.testing.assert_array_equal(unpack(pack(values, bits), bits, shape), values)
