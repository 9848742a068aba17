"""The two links of the optimizer's chain for iterative weight freezing: frozen weights follow their fixed codes.

A frozen weight is the value that the quantizer's learned state (its scale) gives to a fixed integer. It gets no
gradient; its gradient goes to the learned state. Source: Nagel et al., ICML 2022, algorithm 1."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.codes import LEARNED, KernelQuantizers, learned_of


class Held(NamedTuple):
    """The fixed codes of one kernel, arrays like the kernel."""

    values: jax.Array  # int32, read where `mask` is true
    mask: jax.Array  # bool


HeldOf = Callable[[PyTree], Mapping[str, Held]]  # method state -> fixed codes by kernel name


def _names(kernel: str, learned: PyTree, leaf: jax.Array) -> dict[str, jax.Array]:
    layer = kernel.split("/")[:-1]
    below = {"/".join([*layer, LEARNED, name]): value for name, value in named_leaves(learned).items()}
    return {kernel: leaf, **below}


def _replace(tree: PyTree, leaves: Mapping[str, jax.Array]) -> PyTree:
    return map_named(lambda name, leaf: leaves.get(name, leaf), tree)


def follow_codes(table: KernelQuantizers, held_of: HeldOf) -> optax.GradientTransformationExtraArgs:
    """Pulls gradients back through `Quantizer.hold`: held entries get 0, and their gradient goes to the learned state.

    `update` takes `method_state=`, from which `held_of` gets the codes that the parameters are already on."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: PyTree, **_):
        kernels, gradients = named_leaves(params), named_leaves(updates)

        def pull_back(name: str, held: Held) -> dict[str, jax.Array]:
            def stand(learned: PyTree, kernel: jax.Array) -> tuple[PyTree, jax.Array]:
                return learned, table[name].hold(learned, kernel, *held)

            _, pull = jax.vjp(stand, learned_of(params, name), kernels[name])
            return _names(name, *pull((learned_of(updates, name), gradients[name])))

        pulled: dict[str, jax.Array] = {}
        for name, held in held_of(method_state).items():
            pulled |= pull_back(name, held)
        return _replace(updates, pulled), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def land_on_codes(table: KernelQuantizers, held_of: HeldOf) -> optax.GradientTransformationExtraArgs:
    """Rewrites the finished update so that held entries land on their codes under the new learned state. Must be last.

    `update` takes `method_state=`, from which `held_of` gets the codes. Holds: after the update the codes of held
    entries are `values`; entries that `hold` does not move keep their update to the bit. If `hold` finds no such kernel
    (possible where the grid depends on the kernel and nearly all entries are held), the kernel is not updated, so codes
    that were right stay right."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: PyTree, **_):
        moved = optax.apply_updates(params, updates)
        before, after, given = named_leaves(params), named_leaves(moved), named_leaves(updates)

        def land(name: str, held: Held) -> jax.Array:
            quantizer, learned = table[name], learned_of(moved, name)
            assert quantizer.codes is not None  # `KernelQuantizers` holds none of 32 bits
            target = quantizer.hold(learned, after[name], *held)
            landed = jnp.where(target == after[name], given[name], target - before[name])
            found = quantizer.codes(learned, before[name] + landed).values
            return jnp.where(jnp.all((found == held.values) | ~held.mask), landed, 0.0)

        return _replace(updates, {name: land(name, held) for name, held in held_of(method_state).items()}), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
