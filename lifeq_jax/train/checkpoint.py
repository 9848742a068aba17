"""Checkpoints of a stage: the whole train state, and where in the sequence it stands."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.train.mesh import is_writer, wait_for_all

ITEMS = {
    "network": ocp.StandardCheckpointHandler,  # {"params", "batch_stats"}: what another stage or program reads
    "training": ocp.StandardCheckpointHandler,  # the rest of the train state
    "progress": ocp.JsonCheckpointHandler,
}


WORST = -1e30  # JSON has no infinity


class Progress(NamedTuple):
    """Where a stage stands, and all that a summary needs. JSON in the checkpoint, so plain numbers only."""

    task: int  # next task to train; the number of tasks once the stage is done
    epoch: int  # next epoch of it
    done: bool
    matrix: list[list[float]]  # a row per finished task: accuracy on every task
    balanced: list[float]  # balanced accuracy on every task after the newest finished one
    layers: dict[str, dict[str, float]]  # what the method measured then, by leaf and quantity
    best: float  # of the task under way, on validation images: accuracy, or minus the loss; WORST before the first
    patience_left: int  # as in Patience
    rate_factor: float  # as in Patience
    stages: dict[str, list[float]]  # accuracy on every task at the end of each finished stage of the run
    seconds: float  # spent on the run
    method_seconds: float  # of these, on the method's work between tasks
    files: dict[str, list]  # how far each file of the run folder goes, as RunFiles.marks


def has_checkpoint(folder: Path) -> bool:
    """Whether the checkpoint folder of a stage holds one."""
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())


class Checkpoints:
    """The checkpoint folder of one stage. The newest two are kept, so a kill during a save leaves one whole."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        # every process has a manager of its own, since all hold the whole state: Orbax would wait for the others
        number = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=number, active_processes={number}, barrier_sync_key_prefix=f"process_{number}"
        )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2,
            create=False,
            # saved in the foreground: the next step donates the very buffers that a background save would read
            enable_async_checkpointing=False,
            multiprocessing_options=alone if jax.process_count() > 1 else ocp.options.MultiprocessingOptions(),
        )
        handlers: dict[str, Any] = {name: handler() for name, handler in ITEMS.items()}
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    def save(self, network: PyTree, training: PyTree, progress: Progress) -> None:
        """Writes all three, one process for all; the checkpoint appears under its name only when it is complete."""
        if is_writer():
            network, training = jax.device_get((network, training))
            items = {
                "network": ocp.args.StandardSave(network),
                "training": ocp.args.StandardSave(training),
                "progress": ocp.args.JsonSave(progress._asdict()),
            }
            self._manager.save((self._manager.latest_step() or 0) + 1, args=ocp.args.Composite(**items))
        wait_for_all("checkpoint")
        self._manager.reload()

    def progress(self) -> Progress | None:
        """Where the newest checkpoint stands; None when there is none."""
        number = self._manager.latest_step()
        if number is None:
            return None
        items = self._manager.restore(number, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return Progress(**items["progress"])

    def weights(self) -> tuple[PyTree, PyTree]:
        """(params, batch_stats) of the newest checkpoint. Refuses a folder without one."""
        network = self.network()
        return network["params"], network["batch_stats"]

    def network(self) -> PyTree:
        """{"params", "batch_stats"} of the newest checkpoint. Refuses a folder without one."""
        return self._restore("network", self._saved_shapes("network"))

    def training(self, target: PyTree) -> PyTree:
        """The newest checkpoint's training state, in the structure of `target`. Refuses another structure by name."""
        saved, wanted = _named_shapes(self._saved_shapes("training")), _named_shapes(target)
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise Refusal(
                    f"checkpoint {self._manager.directory}: {name} is {saved.get(name)} there and {wanted.get(name)} "
                    "in the recipe; was it written by another recipe?"
                )
        return self._restore("training", target)

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()

    def _number(self) -> int:
        number = self._manager.latest_step()
        if number is None:
            raise Refusal(f"{self._manager.directory} holds no checkpoint")
        return number

    def _saved_shapes(self, item: str) -> PyTree:
        return self._manager.item_metadata(self._number())[item].tree

    def _restore(self, item: str, shapes: PyTree) -> PyTree:
        # through the host: arrays that are tied to a device would make the step compile once more
        target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        restored = self._manager.restore(
            self._number(), args=ocp.args.Composite(**{item: ocp.args.StandardRestore(target)})
        )
        return jax.tree.map(jnp.asarray, restored[item])


def _named_shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items() if hasattr(leaf, "shape")}
