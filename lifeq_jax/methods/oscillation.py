"""Oscillations of quantized weights: how they are tracked, dampened and frozen.

A weight whose best value lies between two grid points is pushed across the decision threshold again and again by the
straight-through gradient. Its integer code flips to and fro, which spoils the running statistics of batch norm and the
convergence of low-bit networks. Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training (ICML
2022)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses.dampening import AGGREGATIONS, dampening
from lifeq_jax.methods.base import Method, StepInfo
from lifeq_jax.methods.penalty import check_strength
from lifeq_jax.optim.freeze import Held, follow_codes, land_on_codes
from lifeq_jax.optim.schedules import annealed
from lifeq_jax.quant.codes import KernelQuantizers, kernel_codes, relax


class Track(NamedTuple):
    """What is known of the oscillations of one kernel, arrays of its shape."""

    codes: jax.Array  # int32, of the newest parameters
    direction: jax.Array  # int8, sign of the last change of code; 0 before the first
    frequency: jax.Array  # float32, moving average of "the code changed against its last direction", per step
    total: jax.Array  # int32, number of such changes
    average: jax.Array  # float32, moving average of the codes
    frozen: jax.Array  # bool
    held: jax.Array  # int32, the fixed code where frozen
    placed: jax.Array  # bool, frozen for at least one step: the newest parameters stand on `held`


class Control(NamedTuple):
    """The state of every row of OSCILLATIONS. All values of `first` and `last` share one compiled step."""

    tracks: dict[str, Track]  # by kernel name; empty where nothing is tracked
    progress: jax.Array  # () float32, share of the task that is done
    first: jax.Array  # () float32, strength of dampening, or threshold of freezing, up to the share `start` of a task
    last: jax.Array  # () float32, the same at a task's end


def new_track(values: jax.Array) -> Track:
    """The track of a kernel with the codes `values`, int32, that has not moved yet."""
    shape = values.shape
    return Track(
        codes=values,
        direction=jnp.zeros(shape, jnp.int8),
        frequency=jnp.zeros(shape),
        total=jnp.zeros(shape, jnp.int32),
        average=values.astype(jnp.float32),
        frozen=jnp.zeros(shape, bool),
        held=jnp.zeros(shape, jnp.int32),
        placed=jnp.zeros(shape, bool),
    )


def observe(
    track: Track, values: jax.Array, momentum: float, threshold: jax.Array | float = 0.0, use_average: bool = True
) -> Track:
    """`track` after a step that gave the codes `values`, int32.

    An oscillation is a change of code opposite to that weight's previous change. Its frequency f = momentum o +
    (1 - momentum) f, o in {0, 1}, tends to 1 where the code changes in every step. Where f exceeds `threshold` (0:
    nowhere) the weight freezes for the rest of the task, at the rounded average of its codes before this step
    (`use_average`) or at its code of this step; if the optimizer cannot put it there, at its code after the next step.
    The original assigns the code again as long as f stays above the threshold, so that a frozen weight can still move.
    """
    turn = jnp.sign(values - track.codes).astype(jnp.int8)
    oscillated = track.direction * turn == -1
    frequency = momentum * oscillated + (1 - momentum) * track.frequency
    freezes = (frequency > threshold) & (threshold > 0) & ~track.frozen
    code = jnp.round(track.average).astype(jnp.int32) if use_average else values
    return Track(
        codes=values,
        direction=jnp.where(turn != 0, turn, track.direction),
        frequency=frequency,
        total=track.total + oscillated,
        average=momentum * values + (1 - momentum) * track.average,
        frozen=track.frozen | freezes,
        held=jnp.where(freezes, code, jnp.where(track.frozen & ~track.placed, values, track.held)),
        placed=track.frozen,
    )


def _check(fits: bool, key: str, value: float, bounds: str) -> None:
    if not fits:
        raise Refusal(f"oscillation.args.{key}={value!r} is not in {bounds}")


def _tracker(
    table: KernelQuantizers,
    momentum: float,
    max_bits: int,
    ends: tuple[float, float] = (0.0, 0.0),
    threshold: Callable[[Control, jax.Array], jax.Array] | None = None,
    use_average: bool = True,
) -> Method:
    """Tracks the kernels of at most `max_bits` bits; `ends`: first and last of the state. Freezes if `threshold`, a
    function of the state and the progress, is given."""
    _check(0 < momentum <= 1, "momentum", momentum, "(0, 1]")
    _check(1 <= max_bits <= 8, "max_bits", max_bits, "[1, 8]")
    coarse = {name: quantizer for name, quantizer in table.items() if quantizer.bits <= max_bits}

    def fresh(params: PyTree) -> Control:
        found = kernel_codes(coarse, params)
        tracks = {name: new_track(code.values) for name, code in found.items()}
        return Control(tracks, jnp.zeros(()), *map(jnp.float32, ends))

    def observe_step(state: Control, step: StepInfo) -> Control:
        progress = jnp.asarray(step.progress, jnp.float32)
        limit = 0.0 if threshold is None else threshold(state, progress)
        found = kernel_codes(coarse, step.new_params)
        tracks = {
            name: observe(track, found[name].values, momentum, limit, use_average)
            for name, track in state.tracks.items()
        }
        return state._replace(tracks=tracks, progress=progress)

    return Method(
        init=lambda start: fresh(start.params),
        observe=observe_step,
        end_task=lambda state, task: fresh(task.params),
    )


def none(table: KernelQuantizers) -> Method:
    """No tracking, no control."""
    del table
    return Method(init=lambda start: Control({}, *jnp.zeros(3)))


def track(table: KernelQuantizers, momentum: float = 0.001, max_bits: int = 4) -> Method:
    """Tracks oscillations of kernels of at most `max_bits` bits; training is unchanged. State: Control.

    Every task starts with new tracks. `momentum`, in (0, 1], is that of the frequency, about 1 / the steps averaged
    over. Refuses arguments out of range."""
    return _tracker(table, momentum, max_bits)


def dampen(
    table: KernelQuantizers,
    strength: float = 0.1,
    strength_start: float = 0.0,
    start: float = 0.25,
    aggregation: str = "kernel_mean",
    momentum: float = 0.001,
    max_bits: int = 4,
) -> Method:
    """Adds strength times the sum of the dampening losses of all kernels of `table`, and tracks as `track` does.

    The strength is `strength_start` up to the share `start` of the task, then follows a cosine to `strength` at its
    end. `aggregation` is a row of AGGREGATIONS. Kernels of more than `max_bits` bits are dampened too, as in the
    original. Refuses arguments out of range."""
    first = check_strength(strength_start, "oscillation.args.strength_start")
    last = check_strength(strength, "oscillation.args.strength")
    _check(0 <= start < 1, "start", start, "[0, 1)")
    combined = lookup(AGGREGATIONS, aggregation, "oscillation.args.aggregation")

    def penalty(state: Control, params: PyTree, weights: PyTree) -> jax.Array:
        leaves = named_leaves(weights)
        relaxed = relax(table, params)
        losses = (dampening(leaves[name], latent, combined) for name, latent in relaxed.items())
        strength = annealed(state.first, state.last, start)(state.progress)
        return strength * sum(losses, start=jnp.zeros(()))

    return _tracker(table, momentum, max_bits, (first, last))._replace(penalty=penalty)


def freeze(
    table: KernelQuantizers,
    threshold: float = 0.1,
    threshold_end: float = 0.01,
    start: float = 0.25,
    momentum: float = 0.001,
    use_average: bool = True,
    max_bits: int = 4,
) -> Method:
    """Iterative weight freezing: a weight whose frequency exceeds the threshold keeps its code to the task's end.

    If `threshold` equals `threshold_end`, the threshold is constant and acts from the first step. Otherwise nothing
    freezes before the share `start` of the task; then the threshold follows a cosine from the first to the second. It
    should be at least 2 to 3 times `momentum`, since one oscillation adds `momentum` to the frequency. A frozen weight
    follows its code when the scale changes. State: Control; every task starts with new tracks, which releases the
    frozen weights. Refuses arguments out of range."""
    for key, value in {"threshold": threshold, "threshold_end": threshold_end}.items():
        _check(0 < value <= 1, key, value, "(0, 1]")
    _check(0 <= start < 1, "start", start, "[0, 1)")
    acts_at_once = threshold == threshold_end

    def limit(state: Control, progress: jax.Array) -> jax.Array:
        if acts_at_once:
            return state.last
        return jnp.where(progress < start, 0.0, annealed(state.first, state.last, start)(progress))

    def placed(state: Control) -> dict[str, Held]:
        return {name: Held(track.held, track.placed) for name, track in state.tracks.items()}

    def frozen(state: Control) -> dict[str, Held]:
        return {name: Held(track.held, track.frozen) for name, track in state.tracks.items()}

    ends = (threshold, threshold_end)
    return _tracker(table, momentum, max_bits, ends, limit, use_average)._replace(
        # A weight frozen by the last step was not yet on its code when this step's gradient was taken.
        gradients=follow_codes(table, placed),
        constraint=land_on_codes(table, frozen),
    )
