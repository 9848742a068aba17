"""The toy problem of oscillations: weights whose best values lie between two grid points.

min over w of E[(x w* - x q(w))^2] / 2, one weight each. The straight-through gradient moves the latent weight up below
the decision threshold between its two grid points, and down above it, so it stays at the threshold and its code keeps
changing. Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training (ICML 2022), section 2."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.methods.base import Method, StageStart, StepInfo
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import Schedule
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import Quantizer
from lifeq_jax.quant.codes import quantize_kernels

BITS = 3
SCALE = 0.25
POINT = 1  # code of the grid point below the best values

SERIES: dict[str, tuple[dict, str, dict]] = {
    # name: arguments of the quantizer, row of OSCILLATIONS, its arguments
    "ste": ({}, "track", {}),
    "ewgs": ({"estimator": "ewgs", "estimator_arg": 0.2}, "track", {}),
    "dampen": ({}, "dampen", {"strength": 1.0, "aggregation": "sum"}),
    "freeze": ({}, "freeze", {"momentum": 0.01}),
}


class Trajectory(NamedTuple):
    """n weights in T steps of training; row t is before step t, the last row after all steps."""

    latent: jax.Array  # (T + 1, n) float32
    codes: jax.Array  # (T + 1, n) int32
    scale: jax.Array  # (T + 1,) float32
    total: jax.Array  # (T + 1, n) int32, oscillations so far
    frozen: jax.Array  # (T + 1, n) bool


class ToyRuns(NamedTuple):
    """One series of the toy problem at R learning rates and D distances."""

    latent: jax.Array  # (R, T + 1, D) latent weights in steps of the grid
    frequency: jax.Array  # (R, D) oscillations per step in the last quarter
    amplitude: jax.Array  # (R, D) largest minus smallest latent weight of the last quarter, in steps of the grid


class Toy(NamedTuple):
    """The toy problem, ready to be drawn."""

    distance: jax.Array  # (D,) of the best values from the grid point POINT, in steps of the grid
    rate: jax.Array  # (R,) learning rates
    threshold: float  # the decision threshold, in steps of the grid
    series: dict[str, ToyRuns]  # by row of SERIES


def descend(
    params: PyTree,
    quantizer: Quantizer,
    target: jax.Array,
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    steps: int,
    curvature: float = 1.0,
) -> Trajectory:
    """Minimizes curvature / 2 * sum (q(w) - target)^2 plus the method's penalty, from {"kernel": w, "quantizer": ...}.

    w and target are (n,); the quantizer has a learned scale. `method` is a row of OSCILLATIONS that tracks, made for
    {"kernel": quantizer}; `optimizer` contains its links."""
    table = {"kernel": quantizer}

    def loss(params: PyTree, state: PyTree) -> jax.Array:
        weights = quantize_kernels(table, params)
        error = jnp.sum(jnp.square(weights["kernel"] - target))
        return 0.5 * curvature * error + method.penalty(state, params, weights)

    def seen(params: PyTree, state: PyTree) -> Trajectory:
        track = state.tracks["kernel"]
        return Trajectory(params["kernel"], track.codes, params["quantizer"]["scale"], track.total, track.frozen)

    def step(carry: tuple, index: jax.Array) -> tuple[tuple, Trajectory]:
        params, state, opt_state = carry
        grads, progress = jax.grad(loss)(params, state), index / steps
        updates, opt_state = optimizer.update(grads, opt_state, params, progress=progress, method_state=state)
        new = optax.apply_updates(params, updates)
        state = method.observe(state, StepInfo(params, new, grads, (index + 1) / steps))
        return (new, state, opt_state), seen(new, state)

    state = method.init(StageStart(params, num_tasks=1, num_classes=1))
    _, after = jax.lax.scan(step, (params, state, optimizer.init(params)), jnp.arange(steps))
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), seen(params, state), after)


def _series(name: str, distance: jax.Array, rate: jax.Array, steps: int) -> ToyRuns:
    arguments, control, settings = SERIES[name]
    quantizer = QUANTIZERS["lsq"](BITS, **arguments)
    method = OSCILLATIONS[control]({"kernel": quantizer}, **settings)
    learned = {"scale": jnp.float32(SCALE), "low": jnp.float32(-(2 ** (BITS - 1)))}
    # Weights begin just below the decision threshold, which they would reach in any case.
    params = {"kernel": jnp.full(distance.shape, SCALE * (POINT + 0.48)), "quantizer": learned}

    def run(rate: jax.Array) -> Trajectory:
        weights = sgd_by_progress(Schedule(rate, jnp.ones_like), momentum=0.0)
        fixed = optax.with_extra_args_support(optax.set_to_zero())
        optimizer = method_chain(method.gradients, weights, fixed, method.constraint)
        return descend(params, quantizer, SCALE * (POINT + distance), method, optimizer, steps)

    path = jax.jit(jax.vmap(run))(rate)
    last = steps - steps // 4
    late = path.latent[:, last:]
    return ToyRuns(
        latent=path.latent / SCALE,
        frequency=(path.total[:, -1] - path.total[:, last]) / (steps // 4),
        amplitude=(jnp.max(late, 1) - jnp.min(late, 1)) / SCALE,
    )


def toy_runs(
    steps: int = 2000,
    distances: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4),
    rates: Sequence[float] = (0.01, 0.03, 0.1),
) -> Toy:
    """Every series at every distance and learning rate, 3 bits, scale 0.25, plain SGD.

    Refuses fewer than 4 steps, distances not in (0, 1/2] and rates not in (0, 1].

    Example:
        >>> toy = lq.toy_runs(steps=40, distances=(0.1, 0.3), rates=(0.1,))
        >>> toy.series["ste"].latent.shape, toy.series["freeze"].frequency.shape
        ((1, 41, 2), (1, 2))
    """
    if steps < 4:
        raise Refusal(f"toy.steps={steps!r} is less than 4")
    for key, values, high in (("distances", distances, 0.5), ("rates", rates, 1.0)):
        if not values or not all(0 < value <= high for value in values):
            raise Refusal(f"toy.{key}={tuple(values)!r} are not numbers in (0, {high}]")
    distance, rate = jnp.array(distances, jnp.float32), jnp.array(rates, jnp.float32)
    series = partial(_series, distance=distance, rate=rate, steps=steps)
    return Toy(distance, rate, POINT + 0.5, {name: series(name) for name in SERIES})
