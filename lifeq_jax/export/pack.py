"""Integers of 1 to 16 bits as bytes. NumPy only."""

from collections.abc import Sequence

import numpy as np


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Values from 0 to below 2**bits, any shape, row after row as uint8: the lowest bit of the first value first."""
    single = (values.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(single.astype(np.uint8).reshape(-1), bitorder="little")


def unpack(packed: np.ndarray, bits: int, shape: Sequence[int]) -> np.ndarray:
    """The int64 values of that shape that `pack` had."""
    count = int(np.prod(shape))
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return (single.astype(np.int64) << np.arange(bits)).sum(axis=1).reshape(shape)
