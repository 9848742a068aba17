"""Gradient estimators: rounding, to the nearest integer or at random, with a surrogate gradient."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant.rounding import straight_through


def ste(v: jax.Array, argument: float, key: jax.Array | None) -> jax.Array:
    """The nearest integers to v, any shape, ties to even. Gradient: that of v. No argument, no noise.

    Source: the straight-through estimator of LSQ (Esser et al., 2020)."""
    del argument, key
    return straight_through(jnp.round(v), v)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _round_ewgs(v: jax.Array, delta: float) -> jax.Array:
    del delta
    return jnp.round(v)


def _round_ewgs_forward(v: jax.Array, delta: float) -> tuple[jax.Array, jax.Array]:
    del delta
    rounded = jnp.round(v)
    return rounded, v - rounded


def _round_ewgs_backward(delta: float, error: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    return (cotangent * (1 + delta * jnp.sign(cotangent) * error),)


_round_ewgs.defvjp(_round_ewgs_forward, _round_ewgs_backward)


def ewgs(v: jax.Array, argument: float, key: jax.Array | None) -> jax.Array:
    """The nearest integers to v. Gradient: g (1 + argument sign(g) (v - round(v))).

    Source: element-wise gradient scaling (Lee et al., 2021), equation 4."""
    del key
    return _round_ewgs(v, argument)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _round_sigmoid(v: jax.Array, alpha: float) -> jax.Array:
    del alpha
    return jnp.round(v)


def _round_sigmoid_forward(v: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    del alpha
    return jnp.round(v), v - jnp.floor(v) - 0.5


def _round_sigmoid_backward(alpha: float, place: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    sigmoid = jax.nn.sigmoid(alpha * place)
    rise = 2 * jax.nn.sigmoid(jnp.float32(alpha / 2)) - 1
    return (cotangent * (alpha / rise) * sigmoid * (1 - sigmoid),)


_round_sigmoid.defvjp(_round_sigmoid_forward, _round_sigmoid_backward)


def stacked_sigmoid(v: jax.Array, argument: float, key: jax.Array | None) -> jax.Array:
    """The nearest integers to v. Gradient: that of a sum of sigmoids of height 1 and steepness `argument`.

    It is largest half way between two integers. Source: StackSigmoidFunctional of Overcoming Oscillations."""
    del key
    return _round_sigmoid(v, argument)


def round_with(v: jax.Array, noise: jax.Array) -> jax.Array:
    """floor(v + noise), noise (shape of v) in [0, 1). Gradient: that of v. Holds: uniform noise gives v on average."""
    return straight_through(jnp.floor(v + noise), v)


def stochastic(v: jax.Array, argument: float, key: jax.Array | None) -> jax.Array:
    """v rounded up with probability v - floor(v); without a key, as in evaluation, to the nearest integers."""
    if key is None:
        return ste(v, argument, key)
    return round_with(v, jax.random.uniform(key, v.shape, v.dtype))


Round = Callable[[jax.Array, float, jax.Array | None], jax.Array]


class GradientEstimator(NamedTuple):
    """A rounding function and the default of its argument; None: it takes no argument."""

    round: Round  # (v, argument, key) -> integers as floats, the shape and type of v
    argument: float | None


ESTIMATORS: dict[str, GradientEstimator] = {
    "ewgs": GradientEstimator(ewgs, 0.2),
    "stacked_sigmoid": GradientEstimator(stacked_sigmoid, 1.0),
    "ste": GradientEstimator(ste, None),
    "stochastic": GradientEstimator(stochastic, None),
}


def rounding(name: str, argument: float = 0.0) -> Callable[[jax.Array, jax.Array | None], jax.Array]:
    """The row `name` of ESTIMATORS as (v, key) -> integers. Argument 0 means the row's default.

    Refuses an unknown name, a negative argument, and one for an estimator that has none."""
    row = lookup(ESTIMATORS, name, "estimator")
    if argument < 0 or (argument and row.argument is None):
        choices = "0" if row.argument is None else "a positive number, or 0 for its own"
        raise Refusal(f"estimator_arg={argument!r} does not fit estimator={name!r}; choose {choices}")
    chosen = argument or row.argument or 0.0
    return lambda v, key: row.round(v, chosen, key)


@jax.custom_vjp
def scale_gradient(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns x unchanged; its gradient is multiplied by `factor`, a scalar, which gets none itself.

    Source: the gradient scale of LSQ (Esser et al., 2020), section 2.2."""
    del factor
    return x


def _scale_gradient_forward(x: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, factor


def _scale_gradient_backward(factor: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return cotangent * factor, None


scale_gradient.defvjp(_scale_gradient_forward, _scale_gradient_backward)
