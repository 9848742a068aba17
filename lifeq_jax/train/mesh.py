"""Devices and processes that share every batch: where arrays lie, and how a function of a batch is compiled for them.

State is fully replicated: every process holds all data and all state, and repeats the work between tasks. Only the
steps of training and of evaluation are sharded; after them every process holds the same numbers."""

import inspect
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.order import Plan

AXIS = "devices"
CUT = PartitionSpec(None, AXIS)


class Devices(NamedTuple):
    """What a run computes on. Without a mesh: one device, as JAX chooses it."""

    parallel: str = "none"  # as in Recipe
    mesh: Mesh | None = None  # of one axis, AXIS

    @property
    def axis_name(self) -> str | None:
        """The axis over which a step sums."""
        return None if self.mesh is None else AXIS

    def compile(self, function: Callable, split: int, donate: tuple[int, ...] = ()) -> Callable:
        """`function`, jitted. On several devices each sees a part of argument number `split`, feeds (n, B, ...) or the
        like cut along B, and the other arguments whole; what it returns must come out equal on all of them."""
        if self.mesh is None:
            return jax.jit(function, donate_argnums=donate)
        is_split = [number == split for number in range(len(inspect.signature(function).parameters))]
        if self.parallel == "pmap":
            axes = tuple(1 if here else None for here in is_split)
            return jax.pmap(function, AXIS, in_axes=axes, out_axes=None, donate_argnums=donate)
        specs = tuple(CUT if here else PartitionSpec() for here in is_split)
        # with check_vma JAX would sum the gradients over the devices once more, before the step does
        shared = jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
        return jax.jit(shared, donate_argnums=donate)

    def part(self, plan: Plan) -> Plan:
        """The places of every batch that this process reads."""
        size = plan.row.shape[1] // jax.process_count()
        first = size * jax.process_index()
        return Plan(*(part[:, first : first + size] for part in plan))

    def split(self, feeds: PyTree) -> PyTree:
        """The feeds (n, B, ...) of this process's part, as the argument that `compile` splits."""
        if self.mesh is None:
            return feeds
        if self.parallel == "pmap":
            size = self.mesh.size
            return jax.tree.map(lambda leaf: leaf.reshape(len(leaf), size, -1, *leaf.shape[2:]), feeds)
        place = NamedSharding(self.mesh, CUT)
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(place, leaf), feeds)

    def replicate(self, tree: PyTree) -> PyTree:
        """`tree` on every device, as the arguments that `compile` leaves whole. May take over the buffers of `tree`."""
        if self.mesh is None:
            return tree
        place, devices = NamedSharding(self.mesh, PartitionSpec()), self.mesh.local_devices

        def on_all(leaf: jax.Array) -> jax.Array:
            return jax.make_array_from_single_device_arrays(
                leaf.shape, place, [jax.device_put(leaf, device) for device in devices]
            )

        return jax.tree.map(on_all, tree)

    def local(self, tree: PyTree) -> PyTree:
        """What `compile`d functions return, as ordinary arrays of this process."""
        if self.mesh is None:
            return tree
        # through the host: arrays that are tied to a device would make other functions compile once more
        return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), tree)


def join_processes() -> None:
    """Makes this process one of several, as the environment names them: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, or what SLURM, Open MPI and TPU pods set; does nothing where it names none.

    Must come before JAX looks at its devices. Refuses an incomplete environment."""
    given = {name: os.environ.get(f"JAX_{name.upper()}") for name in ("num_processes", "process_id")}
    for name, value in given.items():
        if value is not None and not value.isdecimal():
            raise Refusal(f"JAX_{name.upper()}={value!r} is not a number")
    numbers: dict[str, Any] = {name: int(value) for name, value in given.items() if value is not None}
    try:
        jax.distributed.initialize(**numbers)
    except ValueError as error:
        if "JAX_COORDINATOR_ADDRESS" in os.environ or any(given.values()):
            raise Refusal(
                f"several processes need JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID: {error}"
            ) from None


def devices_for(parallel: str, batch_size: int) -> Devices:
    """The devices of a run. Refuses several processes without a mesh, and batches that do not divide among devices."""
    processes = jax.process_count()
    if processes > 1 and parallel != "mesh":
        raise Refusal(f"recipe.parallel={parallel!r} drives one process, and there are {processes}; choose 'mesh'")
    if parallel == "none":
        return Devices()
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
    if batch_size % mesh.size:
        raise Refusal(f"data.batch_size={batch_size} does not divide among {mesh.size} devices; choose a multiple")
    return Devices(parallel, mesh)


def is_writer() -> bool:
    """Whether this process writes the run's files: one of them does, all of them read."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def agreed(tree: PyTree) -> PyTree:
    """The first process's values on all of them, so that no rounding of one machine lets them drift apart."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(jnp.array, multihost_utils.broadcast_one_to_all(tree))
