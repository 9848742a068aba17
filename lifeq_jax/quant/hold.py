"""Holding weights at their codes where the grid depends on the tensor: on its mean and deviation, or on max|x|."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

INSIDE = 0.4  # of a step: how far a held weight may be from its level; the edge is at 0.5
LEAST_SHARE = 0.25  # least mean share of a free weight in the variance of the whole tensor
BISECTIONS = 40
ROUNDING = 1e-5  # float32's share of error in sums over a tensor, with a margin


class Levels(NamedTuple):
    """A grid in the standardized space: level = (code - zero) * step, in standard deviations.

    Values beyond the levels of the codes `lowest` and `highest` round to these two."""

    step: float
    zero: float
    lowest: float = -jnp.inf
    highest: float = jnp.inf

    def places(self, values: jax.Array) -> jax.Array:
        """Positions of weights with the codes `values`: their levels."""
        return (values.astype(jnp.float32) - self.zero) * self.step

    def bounds(self, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(lowest, highest) allowed positions: 0.4 steps around the level; no limit outward from an outermost level."""
        center, reach = self.places(values), INSIDE * self.step
        low = jnp.where(values <= self.lowest, -jnp.inf, center - reach)
        return low, jnp.where(values >= self.highest, jnp.inf, center + reach)


class NormalLevels(NamedTuple):
    """The code of a standardized t is round(steps * Phi(t)), 0..steps; Phi is the normal CDF."""

    steps: int

    def places(self, values: jax.Array) -> jax.Array:
        """Positions of weights with the codes `values`: the middle of the interval of Phi that rounds to each.

        Phi never reaches the outermost levels; their intervals are half a step wide."""
        return self._quantile(jnp.clip(values.astype(jnp.float32), 0.25, self.steps - 0.25))

    def bounds(self, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(lowest, highest) allowed positions: 0.4 steps of Phi around the level; outermost levels have no outer
        limit."""
        low = self._quantile(jnp.maximum(values - INSIDE, 0.25))
        high = self._quantile(jnp.minimum(values + INSIDE, self.steps - 0.25))
        return jnp.where(values <= 0, -jnp.inf, low), jnp.where(values >= self.steps, jnp.inf, high)

    def _quantile(self, level: jax.Array) -> jax.Array:
        return ndtri(level / self.steps)


class _Held(NamedTuple):
    """Which weights are held, and how much variance all weights share."""

    mask: jax.Array
    free: jax.Array  # number of weights that are not held
    room: jax.Array  # size - 1, the sum of squares of standardized weights


def _energy(held: _Held, a: jax.Array, b: jax.Array) -> jax.Array:
    """sum_held a b + (sum_held a) (sum_held b) / n_free, a bilinear form.

    At a = b it is the part of sum t^2 = `room` that held weights at `a` use up, including the mean shift that they
    force on the free ones."""
    a, b = jnp.where(held.mask, a, 0.0), jnp.where(held.mask, b, 0.0)
    return jnp.sum(a * b) + jnp.sum(a) * jnp.sum(b) / jnp.maximum(held.free, 1)


def _tightest(held: _Held, low: jax.Array, high: jax.Array) -> jax.Array:
    """The positions in [low, high] of least energy: each as close as it can be to one point, the free weights' mean."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = (bounds[0] + bounds[1]) / 2
        balance = held.free * middle + jnp.sum(jnp.where(held.mask, jnp.clip(middle, low, high), 0.0))
        return jnp.where(balance < 0, middle, bounds[0]), jnp.where(balance < 0, bounds[1], middle)

    edge = jnp.max(jnp.where(held.mask, jnp.maximum(jnp.where(low > 0, low, 0), jnp.where(high < 0, -high, 0)), 0.0))
    farthest = edge * held.mask.size / jnp.maximum(held.free, 1)
    point, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (-farthest, farthest))
    return jnp.clip(point, low, high)


def _places(held: _Held, values: jax.Array, levels: Levels | NormalLevels) -> jax.Array:
    """Positions of held weights, in deviations: `levels.places`, moved toward the free weights as far as needed."""
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

    Let n entries be free, with mean a and sum of squared deviations V, and let each held entry be t_i deviations from
    the mean. Then s^2 (size - 1 - sum t^2 - (sum t)^2 / n) = V and m = a + s sum t / n give the deviation s and the
    mean m of the whole tensor after holding, and the held entries are m + s t_i. The t_i are `levels.places`, as long
    as these leave each free entry, on average, a quarter of the variance of the whole tensor (then s is at most twice
    the deviation of the free entries); otherwise each t_i moves within `levels.bounds` toward the point of least sum.

    Holds: other entries are unchanged. The codes are `values` if two free entries differ and some tensor with these
    free entries, up to scale and offset, has these codes 0.1 steps from the edges. Otherwise x is returned unchanged;
    its codes are right already if an earlier tensor had them and all of its entries are held. The gradient reaches free
    entries only, also through m and s."""
    free, t, possible = ~mask, *jax.lax.stop_gradient(_stand(values, mask, levels))
    count = jnp.maximum(jnp.sum(free), 1)
    mean = jnp.sum(jnp.where(free, x, 0.0)) / count
    spread = jnp.sum(jnp.where(free, jnp.square(x - mean), 0.0))
    possible = possible & (spread > 0)
    room = jnp.where(possible, x.size - 1 - jnp.sum(t * t) - jnp.sum(t) ** 2 / count, 1.0)
    deviation = jnp.sqrt(jnp.where(possible, spread, 1.0) / room)
    return jnp.where(mask & possible, mean + deviation * (t + jnp.sum(t) / count), x)


def _stand(values: jax.Array, mask: jax.Array, levels: Levels | NormalLevels) -> tuple[jax.Array, jax.Array]:
    """(t, 0 where free; whether the held entries leave any variance for the free ones)."""
    free = jnp.sum(~mask).astype(jnp.float32)
    held = _Held(mask, free, jnp.float32(mask.size - 1))
    t = jnp.where(mask, _places(held, values, levels), 0.0)
    return t, (free > 1) & (held.room - _energy(held, t, t) > ROUNDING / 10 * held.room)


def hold_signs(x: jax.Array, signs: jax.Array, mask: jax.Array) -> jax.Array:
    """x; entries under `mask` get the sign of `signs` (0 where that is 0) and keep their magnitude, made nonzero."""
    magnitude = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x), jnp.finfo(jnp.float32).tiny))
    return jnp.where(mask, jnp.sign(signs).astype(x.dtype) * magnitude, x)


def hold_scaled(x: jax.Array, values: jax.Array, mask: jax.Array, steps: int) -> jax.Array:
    """x; entries under `mask` are put on the levels `values` of 0..steps, evenly spaced from -max|x| to max|x|.

    max|x| is over free entries and those held at an outermost level.
    Holds: other entries are unchanged; the codes are `values`, unless none is outermost and all free entries are 0: no
    tensor has these codes then, and x is returned unchanged."""
    outermost = mask & ((values == 0) | (values == steps))
    held = jnp.max(jnp.where(outermost, jax.lax.stop_gradient(jnp.abs(x)), 0.0))
    reach = jnp.maximum(jnp.max(jnp.where(mask, 0.0, jnp.abs(x))), held)
    possible = (reach > 0) | jnp.any(outermost)
    level = (values.astype(jnp.float32) - steps / 2) * (jnp.where(reach > 0, reach, 1.0) * (2 / steps))
    return jnp.where(mask & possible, level.astype(x.dtype), x)
