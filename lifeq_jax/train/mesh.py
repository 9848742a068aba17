"""Devices and processes that share every batch: placement of arrays, and compilation of functions of a batch.

State is fully replicated: every process holds all data and all state, and repeats the work between tasks. Only the
steps of training and of evaluation are sharded; after them every process holds the same numbers."""

import inspect
import os
import threading
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
    """The devices of a run. Without a mesh: one device, as JAX chooses it."""

    parallel: str = "none"  # as in Recipe
    mesh: Mesh | None = None  # of one axis, AXIS

    @property
    def axis_name(self) -> str | None:
        """The axis over which a step sums."""
        return None if self.mesh is None else AXIS

    def compile(self, function: Callable, split: int, donate: tuple[int, ...] = ()) -> Callable:
        """`function`, jitted. On several devices each gets a part of argument number `split`, cut along axis 1 as feeds
        (n, B, ...) are, and the other arguments whole; its result must be equal on all devices."""
        if self.mesh is None:
            return jax.jit(function, donate_argnums=donate)
        is_split = [number == split for number in range(len(inspect.signature(function).parameters))]
        if self.parallel == "pmap":
            axes = tuple(1 if here else None for here in is_split)
            return jax.pmap(function, AXIS, in_axes=axes, out_axes=None, donate_argnums=donate)
        specs = tuple(CUT if here else PartitionSpec() for here in is_split)
        # with check_vma JAX would sum the gradients over the devices, which the step does already
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
        """`tree` on every device, for the whole arguments of `compile`. May take over the buffers of `tree`."""
        if self.mesh is None:
            return tree
        place, devices = NamedSharding(self.mesh, PartitionSpec()), self.mesh.local_devices

        def on_all(leaf: jax.Array) -> jax.Array:
            return jax.make_array_from_single_device_arrays(
                leaf.shape, place, [jax.device_put(leaf, device) for device in devices]
            )

        return jax.tree.map(on_all, tree)

    def local(self, tree: PyTree) -> PyTree:
        """The result of a `compile`d function as ordinary arrays of this process."""
        if self.mesh is None:
            return tree
        # through the host: arrays committed to a device would make other functions compile again
        return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), tree)


ENVIRONMENTS = {  # variables for: number of processes, index of this one, address of the coordinator
    "JAX": ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS"),
    "SLURM": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri"),
}
PATIENCE = 300  # seconds that a process waits for the others when it starts
HEARTBEAT = 8  # seconds of silence after which a process counts as dead
SILENT = 5  # seconds of waiting before it is logged


def join_processes(log: Callable[[str], None] = print) -> None:
    """Joins several processes named by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or by the
    variables of SLURM, Open MPI and TPU pods; does nothing if none of these is set.

    Must be called before JAX initializes its devices. A wait for the others is logged. Refuses an incomplete
    environment, and a wait of more than PATIENCE seconds."""
    given = {name: os.environ.get(f"JAX_{name.upper()}") for name in ("num_processes", "process_id")}
    for name, value in given.items():
        if value is not None and not value.isdecimal():
            raise Refusal(f"JAX_{name.upper()}={value!r} is not a number")
    numbers: dict[str, Any] = {name: int(value) for name, value in given.items() if value is not None}
    waited = threading.Timer(SILENT, lambda: log(f"{_whom()}, up to {PATIENCE} s"))
    waited.daemon = True
    waited.start()
    try:
        jax.distributed.initialize(**numbers, initialization_timeout=PATIENCE, heartbeat_timeout_seconds=HEARTBEAT)
    except jax.errors.JaxRuntimeError as error:
        raise Refusal(f"{_whom()}, and not all came: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        if "JAX_COORDINATOR_ADDRESS" in os.environ or any(given.values()):
            raise Refusal(
                f"several processes need JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID: {error}"
            ) from None
    finally:
        waited.cancel()


def _whom() -> str:
    """The processes that this one waits for, and the address, from the environment."""
    for name, keys in ENVIRONMENTS.items():
        if keys[0] in os.environ:
            number, place, where = (os.environ.get(key, "?") for key in keys)
            return (
                f"process {place} waits for all {number} processes that {name} names, at {where} ({keys[0]}={number})"
            )
    return "this process waits for the others"


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
    """Whether this process writes the run's files: only one does, while all of them read."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has reached this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def agreed(tree: PyTree) -> PyTree:
    """The first process's values on all processes, so that rounding differences between machines do not add up."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(jnp.array, multihost_utils.broadcast_one_to_all(tree))
