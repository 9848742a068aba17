"""Holding weights at their codes where the grid depends on all weights: through mean and deviation, or the largest."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

INSIDE = 0.4  # of a step: how far from its level a held weight may be, 0.5 being the edge
LEAST_SHARE = 0.25  # of a free weight's variance in that of the whole tensor
BISECTIONS = 40
ROUNDING = 1e-5  # float32's share of error in sums over a tensor, with a margin


class Levels(NamedTuple):
    """A grid in the standardized space: level = (code - zero) * step, in standard deviations.

    All beyond the levels of the codes `lowest` and `highest` rounds to these."""

    step: float
    zero: float
    lowest: float = -jnp.inf
    highest: float = jnp.inf

    def places(self, values: jax.Array) -> jax.Array:
        """Where weights of the codes `values` stand: on their levels."""
        return (values.astype(jnp.float32) - self.zero) * self.step

    def bounds(self, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """How far down and up they may move: 0.4 steps, and out from an outermost level without end."""
        center, reach = self.places(values), INSIDE * self.step
        low = jnp.where(values <= self.lowest, -jnp.inf, center - reach)
        return low, jnp.where(values >= self.highest, jnp.inf, center + reach)


class NormalLevels(NamedTuple):
    """The codes 0..steps of a standardized t are those of steps * Phi(t), rounded; Phi: the normal distribution's."""

    steps: int

    def places(self, values: jax.Array) -> jax.Array:
        """Where weights of the codes `values` stand: at the middle of what steps * Phi rounds to them.

        Phi reaches the outermost levels nowhere, but rounds to them from half a step away."""
        return self._quantile(jnp.clip(values.astype(jnp.float32), 0.25, self.steps - 0.25))

    def bounds(self, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """How far down and up they may move: 0.4 steps of Phi, and out from an outermost level without end."""
        low = self._quantile(jnp.maximum(values - INSIDE, 0.25))
        high = self._quantile(jnp.minimum(values + INSIDE, self.steps - 0.25))
        return jnp.where(values <= 0, -jnp.inf, low), jnp.where(values >= self.steps, jnp.inf, high)

    def _quantile(self, level: jax.Array) -> jax.Array:
        return ndtri(level / self.steps)


class _Held(NamedTuple):
    """Which weights are held, and what that leaves."""

    mask: jax.Array
    free: jax.Array  # number of weights that are not held
    room: jax.Array  # size - 1, the sum of squares of standardized weights


def _energy(held: _Held, a: jax.Array, b: jax.Array) -> jax.Array:
    """Bilinear form; at a = b what held weights at `a`, and the mean that they give the free ones, take of `room`."""
    a, b = jnp.where(held.mask, a, 0.0), jnp.where(held.mask, b, 0.0)
    return jnp.sum(a * b) + jnp.sum(a) * jnp.sum(b) / jnp.maximum(held.free, 1)


def _tightest(held: _Held, low: jax.Array, high: jax.Array) -> jax.Array:
    """The places in [low, high] of least energy: all as near as they can be to one point, the free weights' mean."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = (bounds[0] + bounds[1]) / 2
        balance = held.free * middle + jnp.sum(jnp.where(held.mask, jnp.clip(middle, low, high), 0.0))
        return jnp.where(balance < 0, middle, bounds[0]), jnp.where(balance < 0, bounds[1], middle)

    edge = jnp.max(jnp.where(held.mask, jnp.maximum(jnp.where(low > 0, low, 0), jnp.where(high < 0, -high, 0)), 0.0))
    farthest = edge * held.mask.size / jnp.maximum(held.free, 1)
    point, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (-farthest, farthest))
    return jnp.clip(point, low, high)


def _places(held: _Held, values: jax.Array, levels: Levels | NormalLevels) -> jax.Array:
    """Where held weights stand, in deviations: at their places, or as much nearer to the free weights as is needed."""
    center = levels.places(values)
    most = held.room - jnp.maximum(LEAST_SHARE * held.free, ROUNDING * held.room)

    def nearer() -> jax.Array:
        way = _tightest(held, *levels.bounds(values)) - center
        square, slope = _energy(held, way, way), 2 * _energy(held, center, way)
        excess = _energy(held, center, center) - most
        root = jnp.sqrt(jnp.maximum(jnp.square(slope) - 4 * square * excess, 0.0))
        share = (-slope - root) / jnp.where(square > 0, 2 * square, 1.0)
        return center + jnp.clip(share, 0.0, 1.0) * way

    return jax.lax.cond(_energy(held, center, center) > most, nearer, lambda: center)


def hold_standardized(x: jax.Array, values: jax.Array, mask: jax.Array, levels: Levels | NormalLevels) -> jax.Array:
    """x, any shape, its entries under `mask` moved so that x, standardized as a whole, has the codes `values` there.

    Let n entries be free, with mean a and sum of squared deviations V, and the held ones stand t_i deviations from the
    mean. Then deviation s and mean m of the whole tensor after holding follow from s^2 (size - 1 - sum t^2 - (sum
    t)^2 / n) = V and m = a + s sum t / n, and the held entries are m + s t_i. The t_i are `levels.places` while these
    leave each free entry a quarter of the whole variance in the mean, which bounds s to twice the deviation of the
    free; else each moves within `levels.bounds` toward the point of least sum.

    Holds: other entries are unchanged. The codes are `values` whenever two free entries differ and any tensor with
    these free entries, up to scale and offset, has these codes 0.1 steps from the edges; else x is returned as it is,
    whose codes are right already if an earlier tensor had them and all of its entries are held. The gradient reaches
    free entries only, also through m and s."""
    free, t, possible = ~mask, *jax.lax.stop_gradient(_stand(values, mask, levels))
    count = jnp.maximum(jnp.sum(free), 1)
    mean = jnp.sum(jnp.where(free, x, 0.0)) / count
    spread = jnp.sum(jnp.where(free, jnp.square(x - mean), 0.0))
    possible = possible & (spread > 0)
    room = jnp.where(possible, x.size - 1 - jnp.sum(t * t) - jnp.sum(t) ** 2 / count, 1.0)
    deviation = jnp.sqrt(jnp.where(possible, spread, 1.0) / room)
    return jnp.where(mask & possible, mean + deviation * (t + jnp.sum(t) / count), x)


def _stand(values: jax.Array, mask: jax.Array, levels: Levels | NormalLevels) -> tuple[jax.Array, jax.Array]:
    """(t, 0 where free; whether they leave any room for the free entries)."""
    free = jnp.sum(~mask).astype(jnp.float32)
    held = _Held(mask, free, jnp.float32(mask.size - 1))
    t = jnp.where(mask, _places(held, values, levels), 0.0)
    return t, (free > 1) & (held.room - _energy(held, t, t) > ROUNDING / 10 * held.room)


def hold_signs(x: jax.Array, signs: jax.Array, mask: jax.Array) -> jax.Array:
    """x, its entries under `mask` with the sign of `signs`, 0 where that is 0, their magnitudes kept and never 0."""
    magnitude = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x), jnp.finfo(jnp.float32).tiny))
    return jnp.where(mask, jnp.sign(signs).astype(x.dtype) * magnitude, x)


def hold_scaled(x: jax.Array, values: jax.Array, mask: jax.Array, steps: int) -> jax.Array:
    """x, its entries under `mask` on the levels `values` of 0..steps, evenly spaced from -max|x| to max|x|.

    The largest magnitude counts where it is free, or held at an outermost level and so on the largest in any case.
    Holds: other entries are unchanged; the codes are `values`, unless none is outermost and all free entries are 0:
    no tensor has these codes then, and x is returned as it is."""
    outermost = mask & ((values == 0) | (values == steps))
    held = jnp.max(jnp.where(outermost, jax.lax.stop_gradient(jnp.abs(x)), 0.0))
    reach = jnp.maximum(jnp.max(jnp.where(mask, 0.0, jnp.abs(x))), held)
    possible = (reach > 0) | jnp.any(outermost)
    level = (values.astype(jnp.float32) - steps / 2) * (jnp.where(reach > 0, reach, 1.0) * (2 / steps))
    return jnp.where(mask & possible, level.astype(x.dtype), x)
