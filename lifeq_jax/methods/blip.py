"""BLIP: bits of a weight that carry information about a task are frozen after it."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.lookup import check_choice, lookup
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method, StageStart, TaskEnd
from lifeq_jax.methods.head import is_head
from lifeq_jax.methods.importance import FISHERS, estimator, mean
from lifeq_jax.methods.penalty import check_positive, probe_of
from lifeq_jax.optim.cell_clip import Anchored, cell_clip
from lifeq_jax.optim.stop import stop_after_first_task
from lifeq_jax.quant import bit_alloc


class Frozen(NamedTuple):
    """BLIP's state, arrays by leaf name; its size does not depend on the number of tasks."""

    bits: dict[str, jax.Array]  # int32, frozen bits of each value
    anchor: dict[str, jax.Array]  # float32, the values after the last task, rounded to the frozen bits
    fisher: dict[str, jax.Array]  # float32, mean Fisher information of the prior and the finished tasks
    task: jax.Array  # () int32, finished tasks


class Limits(NamedTuple):
    """The bound of a layer's values, and their Fisher information before the first task."""

    bound: float
    fisher: float


def protected(params: PyTree, head: bool) -> dict[str, jax.Array]:
    """The kernels and biases of all layers by name; those of the classifier with `head` only. Norms have no kernel."""
    leaves = named_leaves(params)

    def is_protected(name: str) -> bool:
        layer, _, last = name.rpartition("/")
        return last in ("kernel", "bias") and f"{layer}/kernel" in leaves and (head or not is_head(name))

    return {name: leaf for name, leaf in leaves.items() if is_protected(name)}


def limits_of(leaves: Mapping[str, jax.Array], prior: float, reach: float, widest: bool = False) -> dict[str, Limits]:
    """The limits of protected leaves, from their shapes: a bias has the information of its kernel. `widest`: as of
    `bit_alloc.layer_constants`."""

    def limits(name: str) -> Limits:
        layer, _, last = name.rpartition("/")
        kernel = bit_alloc.layer_constants(leaves[f"{layer}/kernel"].shape, prior, reach=reach, widest=widest)
        return Limits(kernel.bound if last == "kernel" else bit_alloc.BIAS_BOUND, kernel.fisher)

    return {name: limits(name) for name in leaves}


def blip(
    prior: float = 1e-11,
    fisher: str = "sampled",
    cell: str = "half",
    rounding: bool = True,
    zero_bits: str = "zero",
    max_bits: int = bit_alloc.MAX_BITS,
    reach: float = 6.0,
    widest: bool = False,
    head: bool = True,
) -> Method:
    """Freezes ceil(information gain) more bits of every value after each task (quant/bit_alloc.py).

    The end of a task has three steps: (1) the diagonal Fisher information of the newest task's data, at the weights the
    network computes with (importance.FISHERS; by default exact, unscaled, with labels sampled from the network); (2)
    the number of bits that it adds; (3) the latent weights rounded to all their frozen bits. Training moves a weight
    only within the cell of its frozen bits. Scales and shifts of norms learn in the first task only; the recipe's
    norm_tasks=1 does the same for statistics. Source: Shi et al., CVPR 2021. State: Frozen.

    Args:
        prior: Fisher information before the first task, per input of a layer: the original's F_prior times B^2, by
            which it divides the Fisher, B = 100 (mini-ImageNet: 10, agents: 62).
        fisher: row of importance.FISHERS.
        cell: half, in which frozen bits never change, or full, the original's.
        rounding: whether weights are rounded to their frozen bits, as in the original.
        zero_bits: a weight without frozen bits becomes zero, as in the original, or stays (keep).
        max_bits: most bits that a value may freeze, 1 to 20.
        reach, widest: limit weights to reach / sqrt(fan-in); widest: of fan-in or outputs, as in the original's agents.
        head: protects the classifier too, if tasks share it; False: each has its own, as in the original.

    Example:
        >>> lq.methods.blip(max_bits=8).concludes
        True
    """
    prior, reach = check_positive(prior, "method.args.prior"), check_positive(reach, "method.args.reach")
    check_choice(bit_alloc.ZERO_BITS, zero_bits, "method.args.zero_bits")
    estimate = estimator(lookup(FISHERS, fisher, "method.args.fisher")(LOSSES["cross_entropy"]()))

    def limits(leaves: Mapping[str, jax.Array]) -> dict[str, Limits]:
        return limits_of(leaves, prior, reach, widest)

    def init(start: StageStart) -> Frozen:
        leaves = protected(start.params, head)
        return Frozen(
            bits={name: jnp.zeros(leaf.shape, jnp.int32) for name, leaf in leaves.items()},
            anchor={name: jnp.zeros(leaf.shape) for name, leaf in leaves.items()},
            fisher={
                name: jnp.full(leaves[name].shape, known.fisher, jnp.float32) for name, known in limits(leaves).items()
            },
            task=jnp.zeros((), jnp.int32),
        )

    def anchors(state: Frozen) -> dict[str, Anchored]:
        bounds = limits(state.bits)
        return {name: Anchored(state.anchor[name], bits, bounds[name].bound) for name, bits in state.bits.items()}

    @jax.jit
    def freeze(state: Frozen, params: PyTree, information: PyTree) -> Frozen:
        given, found = named_leaves(params), named_leaves(information)
        gain = {name: bit_alloc.information_gain(found[name], old, state.task) for name, old in state.fisher.items()}
        bits = {name: bit_alloc.grow(old, gain[name], max_bits) for name, old in state.bits.items()}

        def rounded(name: str, limit: Anchored) -> jax.Array:
            return bit_alloc.freeze_codes(
                given[name],
                limit.anchor,
                limit.bits,
                bits[name],
                limit.bound,
                cell=cell,
                zero_bits=zero_bits,
                max_bits=max_bits,
            )

        return Frozen(
            bits=bits,
            anchor={name: rounded(name, limit) for name, limit in anchors(state).items()},
            fisher={name: bit_alloc.update_fisher(old, found[name], state.task) for name, old in state.fisher.items()},
            task=state.task + 1,
        )

    def end_task(state: Frozen, task: TaskEnd) -> Frozen:
        information = mean(estimate(probe_of(task, quantized=True), task.loaders[-1](), task.key))
        return freeze(state, task.params, information)

    def settle(state: Frozen, params: PyTree) -> PyTree:
        limited = anchors(state)

        def settled(name: str, leaf: jax.Array) -> jax.Array:
            if name not in limited:
                return leaf
            # the anchor's cell lies inside all earlier cells; a cell around the weight itself might not
            return (
                limited[name].anchor if rounding else bit_alloc.clip(leaf, *limited[name], cell=cell, max_bits=max_bits)
            )

        return map_named(settled, params)

    def measure(state: Frozen, params: PyTree) -> dict[str, dict[str, jax.Array]]:
        values = named_leaves(params)
        return {name: _measured(name, bits, values[name], max_bits) for name, bits in state.bits.items()}

    def learns_on(state: Frozen, name: str) -> bool:  # not the scales and shifts of norms, which have no frozen bits
        return name in state.bits or (not head and is_head(name))

    stop = stop_after_first_task(lambda state: state.task, learns_on)
    return Method(
        init=init,
        end_task=end_task,
        settle=settle,
        measure=measure,
        concludes=True,
        constraint=optax.chain(stop, cell_clip(anchors, cell=cell, max_bits=max_bits)),
    )


def _measured(name: str, bits: jax.Array, values: jax.Array, max_bits: int) -> dict[str, jax.Array]:
    """Mean frozen bits, their share of max_bits, the number of values; for kernels also units and dead units."""
    found = {
        "bits": jnp.mean(bits.astype(jnp.float32)),
        "capacity": bit_alloc.capacity(bits, max_bits),
        "values": jnp.float32(bits.size),
    }
    if name.rpartition("/")[2] != "kernel":
        return found
    return found | {
        "units": jnp.float32(values.shape[-1]),
        "dead_units": jnp.sum(bit_alloc.dead_units(values)).astype(jnp.float32),
    }
