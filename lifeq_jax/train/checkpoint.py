"""Checkpoints of a stage: the whole train state, and where in the sequence it stands."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from lifeq_jax.core.config import Stage
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import digest_of_arrays, map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.train.mesh import is_writer, wait_for_all

ITEMS = {
    "network": ocp.StandardCheckpointHandler,  # {"params", "batch_stats"}: what another stage or program reads
    "training": ocp.StandardCheckpointHandler,  # the rest of the train state
    "progress": ocp.JsonCheckpointHandler,
    "digest": ocp.JsonCheckpointHandler,  # of the other three, to detect damage
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
    best: float  # of the current task, on validation images: accuracy, or minus the loss; WORST before the first
    patience_left: int  # as in Patience
    rate_factor: float  # as in Patience
    stages: dict[str, list[float]]  # accuracy on every task at the end of each finished stage of the run
    seconds: float  # spent on the run
    method_seconds: float  # of these, on the method's work between tasks
    files: dict[str, list]  # how far each file of the run folder goes, as RunFiles.marks
    untrained: list[float]  # accuracy on every task before the stage's first step


class Items(NamedTuple):
    """What a checkpoint holds."""

    network: PyTree
    training: PyTree
    progress: Any  # the stage's record

    def digest(self) -> str:
        """A hash of everything, to detect damage."""
        progress = json.dumps(self.progress._asdict(), sort_keys=True)
        return digest_of_arrays({"network": self.network, "training": self.training}, progress)


def has_checkpoint(folder: Path) -> bool:
    """Whether the checkpoint folder of a stage holds one."""
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())


def stage_folder(run: Path, stage: str) -> Path:
    """Where a run folder has the checkpoints of a stage."""
    return run / "checkpoints" / stage


def begun_stages(run: Path, stages: Sequence[Stage]) -> list[int]:
    """The numbers of the stages that have a checkpoint, ascending. Stages before the newest of them are finished, even
    if their checkpoints are gone."""
    return [number for number, stage in enumerate(stages) if has_checkpoint(stage_folder(run, stage.name))]


def kept_network(run: Path, stage: str, task: int) -> Path:
    """Where a run folder keeps the network of the end of a task, as a checkpoint of its own."""
    return run / "kept" / stage / str(task)


class Checkpoints:
    """The checkpoint folder of one stage. The newest two are kept, so a kill during a save leaves one whole.

    Reads the newest checkpoint that is whole, i.e. unchanged since it was saved. `record` is the NamedTuple of plain
    values that says where the stage stands."""

    def __init__(self, folder: Path, record: Any = Progress):
        self._folder, self._record = folder, record
        # Orbax would wait for the other processes; each has its own manager, since all hold the whole state
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
        self._items: Items | None = None  # of the newest whole checkpoint, once it has been read
        self._used = 0  # its number
        self._damaged: dict[int, str] = {}  # newer ones, and what is wrong with them

    def save(self, network: PyTree, training: PyTree, progress: Any) -> None:
        """Writes a checkpoint, from one process only; it appears under its name only when it is complete."""
        if is_writer():
            self._folder.mkdir(parents=True, exist_ok=True)
            items = Items(jax.device_get(network), jax.device_get(training), progress)
            args = {
                "network": ocp.args.StandardSave(items.network),
                "training": ocp.args.StandardSave(items.training),
                "progress": ocp.args.JsonSave(progress._asdict()),
                "digest": ocp.args.JsonSave({"sha256": items.digest()}),
            }
            self._manager.save((self._manager.latest_step() or 0) + 1, args=ocp.args.Composite(**args))
        wait_for_all("checkpoint")
        self._manager.reload()
        self._items = None

    def progress(self) -> Any | None:
        """Where the newest whole checkpoint stands; None when there is none at all.

        Raises:
            Refusal: there are checkpoints, and none is whole."""
        items = self.items()
        return None if items is None else items.progress

    def is_done(self) -> bool:
        """Whether the newest whole checkpoint is of the end of the stage. Refuses a folder without one."""
        return self._items_there().progress.done

    def place(self) -> str:
        """Of which moment the newest whole checkpoint is, for a reader. Refuses a folder without one."""
        progress = self._items_there().progress
        tasks = f"after {_count(len(progress.matrix), 'task')}"
        return tasks if not progress.epoch else f"{tasks} and {_count(progress.epoch, 'epoch')} of the next"

    def weights(self) -> tuple[PyTree, PyTree]:
        """(params, batch_stats) of the newest whole checkpoint. Refuses a folder without one."""
        network = self.network()
        return network["params"], network["batch_stats"]

    def network(self) -> PyTree:
        """{"params", "batch_stats"} of the newest whole checkpoint. Refuses a folder without one."""
        return jax.tree.map(jnp.asarray, self._items_there().network)

    def training(self, target: PyTree) -> PyTree:
        """The newest whole checkpoint's training state, in the structure of `target`. Refuses another structure by
        name."""
        leaves = named_leaves(self._items_there().training)
        saved, wanted = _named_shapes(leaves), _named_shapes(target)
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise Refusal(
                    f"checkpoint {self._manager.directory}: {name} is {saved.get(name)} there and {wanted.get(name)} "
                    "in the recipe; was it written by another recipe?"
                )
        return map_named(lambda name, leaf: jnp.asarray(leaves[name]), target)

    def note(self) -> str | None:
        """One line that names the damaged checkpoints newer than the one in use; None if there are none."""
        if not self._damaged or self._items is None:
            return None
        said = "; ".join(f"checkpoint {self._manager.directory / str(n)} {why}" for n, why in self._damaged.items())
        return f"{said}; the older {self._used} is used"

    def items(self) -> Items | None:
        """The content of the newest whole checkpoint, on the host; None and Refusal as for `progress`."""
        if self._items is None:
            self._damaged = {}
            for number in sorted(self._manager.all_steps(), reverse=True):
                read = self._read(number)
                if isinstance(read, Items):
                    self._items, self._used = read, number
                    break
                self._damaged[number] = read
        if self._items is None and self._damaged:
            said = "; ".join(f"{number} {why}" for number, why in self._damaged.items())
            raise Refusal(f"no checkpoint in {self._manager.directory} is whole: {said}")
        return self._items

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()

    def _items_there(self) -> Items:
        items = self.items()
        if items is None:
            raise Refusal(f"{self._manager.directory} holds no checkpoint")
        return items

    def _read(self, number: int) -> Items | str:
        """A checkpoint, or what is wrong with it."""
        arrays = ("network", "training")
        try:
            metadata = self._manager.item_metadata(number)
            # through the host: arrays committed to a device would make the step compile again
            wanted = {
                name: jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), metadata[name].tree)
                for name in arrays
            }
            args = {name: ocp.args.StandardRestore(shapes) for name, shapes in wanted.items()}
            args |= {name: ocp.args.JsonRestore() for name in ("progress", "digest")}
            read = self._manager.restore(number, args=ocp.args.Composite(**args))
            items = Items(read["network"], read["training"], self._record(**read["progress"]))
            if read["digest"] != {"sha256": items.digest()}:
                return "is damaged: its items are not those that were saved together"
        except Exception as error:  # missing or changed files make the libraries raise many kinds
            return f"cannot be read: {(str(error).splitlines() or [type(error).__name__])[0][:100]}"
        return items


def _named_shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items() if hasattr(leaf, "shape")}


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
