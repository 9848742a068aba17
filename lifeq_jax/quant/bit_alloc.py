"""BLIP's bit allocation: every weight has its own number of frozen bits, 0..20, on a grid inside its layer's bound.

Functions of single leaves, any shape; `bits` is int32 like the leaf, `bound` one positive number per leaf. The code of
x at N bits is round(2^N x / bound), ties to even. Source: Shi et al., Continual Learning via Bit-Level Information
Preserving (BLIP), CVPR 2021."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import check_choice, lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.proxq import LEVELS
from lifeq_jax.quant.rounding import straight_through

MAX_BITS = 20
BIAS_BOUND = 1.0
ZERO_BITS = ("zero", "keep")
MARGIN = 2.0**-22  # of the bound: a quarter of a step of 20 bits, and four times float32's rounding error at the bound


class LayerConstants(NamedTuple):
    """Constants of a layer. Its bias has the bound `BIAS_BOUND` and the same Fisher information as its kernel."""

    bound: float  # of the kernel, in units of the parameter
    fisher: float  # of each parameter, before the first task


def layer_constants(
    shape: tuple[int, ...], prior: float, *, reach: float = 6.0, widest: bool = False
) -> LayerConstants:
    """Bound reach / sqrt(fan) and first Fisher information prior * fan of a kernel, HWIO or (in, out).

    fan is the fan-in; widest=True takes max(fan-in, outputs), as the original's Atari agents do. The original's
    mini-ImageNet experiments have reach = 20. `prior` is in the units of the Fisher information that is used."""
    fan = math.prod(shape[:-1])
    fan = max(fan, shape[-1]) if widest else fan
    return LayerConstants(reach / math.sqrt(fan), prior * fan)


def _code(x: jax.Array, bits: jax.Array, bound: float, levels: str = "exact") -> tuple[jax.Array, jax.Array]:
    """(code, integral but float32; 2^bits)."""
    steps = jnp.left_shift(1, bits).astype(jnp.float32)  # exact, which exp2 is not
    # Multiply by 1 / bound: XLA rewrites x / bound this way in some programs only, and the two round differently.
    code = jnp.round(x * (1 / jnp.asarray(bound, jnp.float32)) * steps)
    return (code if levels == "open" else jnp.clip(code, 1 - steps, steps - 1)), steps


def codes(x: jax.Array, bits: jax.Array, bound: float) -> jax.Array:
    """The code of x at `bits` bits, int32 from -(2^bits - 1) to 2^bits - 1: what freezing `bits` bits keeps."""
    return _code(x, bits, bound)[0].astype(jnp.int32)


def quantize_bits(
    x: jax.Array, bits: jax.Array, bound: float, *, zero_bits: str = "zero", levels: str = "exact"
) -> jax.Array:
    """bound * code / 2^bits; at 0 bits 0 (zero_bits="zero") or x itself ("keep"). Gradient: 1 everywhere.

    levels="exact": 2^(bits + 1) - 1 levels, all inside the bound. The paper clips x to half a step from the bound; that
    tie rounds inward here. levels="open": the original, without a limit: x within half a step of the bound rounds to
    the bound, and x beyond it stays beyond. Refuses other names."""
    check_choice(ZERO_BITS, zero_bits, "zero_bits")
    check_choice(LEVELS, levels, "levels")
    code, steps = _code(x, bits, bound, levels)
    unfrozen = jnp.zeros_like(x) if zero_bits == "zero" else x
    return straight_through(jnp.where(bits == 0, unfrozen, bound * (code / steps)), x)


def _half_cell(anchor: jax.Array, bits: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    """Ends of the cell of the anchor's code, shrunk by a margin; of half the cell where the anchor is off its level."""
    code, steps = _code(anchor, bits, bound)
    level, half = code / steps, 0.5 / steps
    beside = (anchor - bound * level) / (bound * MARGIN)  # 0 or +-1 up to rounding for what `freeze_codes` returns
    above, below = ((bits > 0) & (side > 0.375) & (side < 2) for side in (beside, -beside))
    low = jnp.where(above, level + MARGIN, jnp.where(code <= 1 - steps, -jnp.inf, level - half + MARGIN))
    high = jnp.where(below, level - MARGIN, jnp.where(code >= steps - 1, jnp.inf, level + half - MARGIN))
    return bound * low, bound * high


def _full_cell(anchor: jax.Array, bits: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    step = bound / jnp.left_shift(1, bits).astype(jnp.float32)
    return anchor - step, anchor + step


CELLS = {"half": _half_cell, "full": _full_cell}


def check_cell(cell: str, max_bits: int) -> None:
    """Refuses a cell that is neither "half" nor "full", and max_bits outside 1..20, which float32 codes need."""
    lookup(CELLS, cell, "cell")
    if max_bits not in range(1, MAX_BITS + 1):
        raise Refusal(f"max_bits={max_bits!r} is not a number of bits; choose from 1 to {MAX_BITS}")


def clip(
    x: jax.Array, anchor: jax.Array, bits: jax.Array, bound: float, *, cell: str = "half", max_bits: int = MAX_BITS
) -> jax.Array:
    """x moved into the cell of `anchor` at `bits` bits and into the range +-bound (1 - 2^-max_bits). bits <= max_bits.

    cell="half": all values with the anchor's code, half a step to either side (for an outermost code, up to the end of
    the range), less a margin of 2^-22 bounds for rounding errors of the update. Holds: codes(clip(x), bits) ==
    codes(anchor, bits), in float32. At 0 bits only the range limits x.
    cell="full": the original, one full step to either side; codes can change. Idempotent. Refuses other names."""
    check_cell(cell, max_bits)
    low, high = CELLS[cell](anchor, bits, bound)
    reach = bound * (1 - 2.0**-max_bits)
    return jnp.clip(x, jnp.maximum(low, -reach), jnp.minimum(high, reach))


def freeze_codes(
    x: jax.Array,
    anchor: jax.Array,
    bits: jax.Array,
    new_bits: jax.Array,
    bound: float,
    *,
    cell: str = "half",
    zero_bits: str = "zero",
    max_bits: int = MAX_BITS,
) -> jax.Array:
    """The weights after a task, and the next anchor: x quantized to `new_bits`, at least `bits`, those frozen so far.

    cell="half": where a level of the finer grid lies on the edge of the coarser cell, the weight is put a margin inside
    that edge, and its next cell is only that side of the level. Holds: the code at `bits` bits stays the anchor's, and
    every later `clip` and `freeze_codes` keeps the result's codes at `bits` and `new_bits` bits.
    cell="full": the original, `quantize_bits` alone, which may change frozen codes. Refuses other names."""
    if cell == "full":
        return quantize_bits(x, new_bits, bound, zero_bits=zero_bits, levels="open")
    rounded = quantize_bits(x, new_bits, bound, zero_bits=zero_bits)
    return clip(rounded, anchor, bits, bound, cell=cell, max_bits=max_bits)


def information_gain(fisher: jax.Array, fisher_old: jax.Array, task: jax.Array | int) -> jax.Array:
    """log2((F + F_old (t + 1)) / (F_old (t + 2))) / 2: bits by which task t = 0, 1, ... narrows a Gaussian posterior.

    F_old must be positive. Holds: exactly 0 at F = F_old (hence log1p of the difference)."""
    return (0.5 / math.log(2.0)) * jnp.log1p((fisher - fisher_old) / (fisher_old * (task + 2.0)))


def grow(bits: jax.Array, gain: jax.Array, max_bits: int = MAX_BITS) -> jax.Array:
    """Frozen bits after a task: bits + ceil(gain), int32, never fewer than before and at most max_bits."""
    more = jnp.clip(jnp.ceil(gain), 0, max_bits).astype(jnp.int32)
    return jnp.minimum(bits + more, max_bits)


def update_fisher(fisher_old: jax.Array, fisher: jax.Array, task: jax.Array | int) -> jax.Array:
    """(F_old (t + 1) + F) / (t + 2): the mean Fisher information of the prior and the tasks 0..t."""
    return fisher_old + (fisher - fisher_old) / (task + 2.0)


def capacity(bits: PyTree, max_bits: int = MAX_BITS) -> jax.Array:
    """The share of all bits that is frozen, a scalar 0..1; `bits`: a tree of int32 arrays, one per leaf."""
    leaves = jax.tree.leaves(bits)
    used = sum((jnp.sum(leaf).astype(jnp.float32) for leaf in leaves), start=jnp.zeros(()))
    return used / (max_bits * sum(leaf.size for leaf in leaves))


def dead_units(kernel: jax.Array) -> jax.Array:
    """bool (out,): the outputs of a kernel, HWIO or (in, out), whose incoming weights are all 0."""
    return jnp.all(kernel == 0, axis=tuple(range(kernel.ndim - 1)))
