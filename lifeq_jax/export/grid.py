"""Integer grids: of a kernel from its codes, of an activation quantizer from the inputs at which its codes change."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.export.program import Weight
from lifeq_jax.quant.base import Codes, Quantizer

POINTS = 1024  # float32 numbers that a quantizer is asked for at a time: one shape, so that JAX compiles once
MOST = 2**16  # codes of an activation quantizer
NEAR = 8.0  # where activations usually are: the first look is finer there


def weight_of(codes: Codes, bits: int) -> tuple[Weight, np.ndarray]:
    """The integers of a kernel's codes, and the step of one, float64 () or (C,): integers * step is the weight.

    Zero points are whole or halves, as all quantizers have them; a half doubles the integers and halves the step."""
    values = np.asarray(codes.values).astype(np.int64)
    scale = np.asarray(codes.scale, np.float64).reshape(-1)
    twice = np.round(2 * np.asarray(codes.zero, np.float64)).astype(np.int64).reshape(-1)
    factor = 2 if np.any(twice % 2) else 1
    lowest = _lowest(values, bits)
    offset = factor * lowest - (twice if factor == 2 else twice // 2)
    stored = max(bits, int(values.max() - lowest).bit_length())
    weight = Weight(
        values - lowest,
        bits,
        stored,
        factor,
        np.squeeze(offset),
        lowest,
        tuple((twice / 2).tolist()),
        tuple(scale.tolist()),
    )
    return weight, (scale if len(scale) > 1 else scale[0]) / factor


def _lowest(values: np.ndarray, bits: int) -> int:
    """The lowest code of the grid, unsigned or signed, that holds the values; of the values, where neither does."""
    fitting = [low for low in (0, -(2 ** (bits - 1))) if low <= values.min() and values.max() < low + 2**bits]
    return fitting[0] if fitting else int(values.min())


class Staircase(NamedTuple):
    """Codes of an activation quantizer by its input: code[j] from edge[j - 1] on, code[0] below edge[0]."""

    edge: np.ndarray  # (J,) float32, ascending: the smallest number of each piece
    code: np.ndarray  # (J + 1,) int64


CodesOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Scale(NamedTuple):
    """value = (code - zero) * scale, float64 and per channel where the quantizer is."""

    scale: np.ndarray  # () or (C,)
    zero: np.ndarray


def scale_of(quantizer: Quantizer, learned: PyTree, channels: int, rank: int, layer: str) -> Scale:
    """Scale and zero of an activation quantizer at inputs of `rank` axes.

    Refuses a quantizer for which the code of a value depends on other values."""
    shape = (2, *[1] * (rank - 2), channels)
    probe = np.linspace(-1, 1, 2 * channels, dtype=np.float32).reshape(shape)
    assert quantizer.codes is not None
    found, beside = (quantizer.codes(learned, jnp.asarray(np.concatenate(rows))) for rows in _pair(probe))
    pairs = [
        (np.asarray(a)[: len(probe)], np.asarray(b)[: len(probe)]) for a, b in zip(found[:1], beside[:1], strict=True)
    ]
    pairs += [(np.asarray(a), np.asarray(b)) for a, b in zip(found[1:], beside[1:], strict=True)]
    if not all(np.array_equal(a, b) for a, b in pairs):
        raise Refusal(
            f"layer {layer} quantizes a value by all values of its batch, as activation(normalize=True) does: an "
            "exported network sees one image at a time"
        )
    scale, zero = (np.asarray(item, np.float64).reshape(-1) for item in found[1:])
    return Scale(scale if len(scale) > 1 else scale[0], zero if len(zero) > 1 else zero[0])


def _pair(probe: np.ndarray) -> tuple[tuple[np.ndarray, ...], ...]:
    return (probe, probe), (probe, 5 * probe + 3)


def staircases(codes: CodesOf, channels: int, low: float, high: float, layer: str) -> list[Staircase]:
    """For each channel, the staircase between `low` and `high`, both float32, by bisection to adjacent numbers.

    codes: float32 (POINTS,) and their channels (POINTS,) -> int (POINTS,). A piece is found if one of about a thousand
    sample points lies in it, or if its code is between those of two. Refuses codes of more than 16 bits."""

    def of(order: np.ndarray, channel: np.ndarray) -> np.ndarray:
        starts = range(0, len(order), POINTS)
        parts = [(order[start : start + POINTS], channel[start : start + POINTS]) for start in starts]
        found = [codes(_floats(np.resize(x, POINTS)), np.resize(c, POINTS))[: len(x)] for x, c in parts]
        return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)

    look = _first_look(low, high)
    order, channel = np.tile(look, channels), np.repeat(np.arange(channels), len(look))
    code = of(order, channel)
    if int(code.max()) - int(code.min()) >= MOST:
        raise Refusal(
            f"layer {layer} has codes from {code.min()} to {code.max()} where the accumulators are largest: its "
            "quantizer does not limit them, and exported codes have at most 16 bits"
        )
    changes = np.flatnonzero((code[1:] != code[:-1]) & (channel[1:] == channel[:-1]))
    pieces = [order[changes], order[changes + 1], code[changes], code[changes + 1], channel[changes]]
    done = [part[:0] for part in pieces]
    while len(pieces[0]):
        near = pieces[1] - pieces[0] == 1
        done = [np.concatenate([part, new[near]]) for part, new in zip(done, pieces, strict=True)]
        left, right, before, after, channel = (part[~near] for part in pieces)
        middle = left + (right - left) // 2
        between = of(middle, channel)
        halves = [(left, middle, before, between, channel), (middle, right, between, after, channel)]
        kept = [[part[half[2] != half[3]] for part in half] for half in halves]
        pieces = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
    return [_staircase(done, number, code[number * len(look)]) for number in range(channels)]


def _staircase(pieces: list[np.ndarray], number: int, first: int) -> Staircase:
    _, edge, _, code, channel = pieces
    own = np.flatnonzero(channel == number)
    own = own[np.argsort(edge[own])]
    return Staircase(_floats(edge[own]), np.concatenate([[first], code[own]]).astype(np.int64))


def _first_look(low: float, high: float) -> np.ndarray:
    """Numbers from low to high in their order: evenly spaced, evenly among the float32 numbers, and finer near 0."""
    near = np.clip(np.linspace(-NEAR, NEAR, 2 * POINTS), low, high)
    even = np.concatenate([np.linspace(low, high, POINTS), near, [low, high]]).astype(np.float32)
    first, last = _orders(np.array([low, high], np.float32))
    return np.unique(np.concatenate([_orders(even), np.linspace(first, last, POINTS).astype(np.int64)]))


def _orders(numbers: np.ndarray) -> np.ndarray:
    """The place of each float32 number in the order of all of them, int64; 0 is that of 0."""
    bits = numbers.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _floats(order: np.ndarray) -> np.ndarray:
    return np.where(order < 0, (-order) | 0x80000000, order).astype(np.uint32).view(np.float32)


def codes_of(quantizer: Quantizer, learned: PyTree, x: np.ndarray) -> np.ndarray:
    """The codes of x, int64, operation by operation."""
    assert quantizer.codes is not None
    return np.asarray(quantizer.codes(learned, jnp.asarray(x)).values).astype(np.int64)
