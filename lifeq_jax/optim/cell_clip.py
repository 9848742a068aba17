"""BLIP's last link of the optimizer's chain, which keeps the frozen bits of weights."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.bit_alloc import MAX_BITS, check_cell, clip


class Anchored(NamedTuple):
    """What limits one leaf: the values it had after the last task, their frozen bits, and its bound."""

    anchor: jax.Array  # float32 like the leaf
    bits: jax.Array  # int32 like the leaf
    bound: float  # one positive number


AnchorsOf = Callable[[PyTree], Mapping[str, Anchored]]  # method state -> limits by leaf name


def cell_clip(
    anchors_of: AnchorsOf, *, cell: str = "half", max_bits: int = MAX_BITS
) -> optax.GradientTransformationExtraArgs:
    """Rewrites the finished update so that leaves land in the cells of their anchors (`bit_alloc.clip`). Must be last.

    `update` takes `method_state=`, from which `anchors_of` gets the leaves that are limited. Other leaves, and entries
    that stay inside their cell, keep their update to the bit. Holds for cell="half" and parameters within their bound:
    after `optax.apply_updates` all codes are those of the anchors. (param + (target - param) is not always the target
    in float32, but the error is less than the margin of the cells, since no difference exceeds two bounds.)
    Source: the clipping of BLIP (CVPR 2021). Refuses other cells, and max_bits outside 1..20."""
    check_cell(cell, max_bits)

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: PyTree, **_):
        before, moved = named_leaves(params), named_leaves(optax.apply_updates(params, updates))
        anchors = anchors_of(method_state)

        def land(name: str, given: jax.Array) -> jax.Array:
            if name not in anchors:
                return given
            target = clip(moved[name], *anchors[name], cell=cell, max_bits=max_bits)
            return jnp.where(target == moved[name], given, target - before[name])

        return map_named(land, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
