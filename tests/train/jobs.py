"""What tests of training begin with."""

import zlib
from pathlib import Path

import jax.numpy as jnp

from lifeq_jax.core.config import Recipe
from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.methods.base import StageStart
from lifeq_jax.models import resnet
from lifeq_jax.train.build import Built, complete
from lifeq_jax.train.stage import Moment, Watch
from lifeq_jax.train.step import TrainState, fresh_state
from lifeq_jax.train.world import World, make_world, read_source


def one_block(
    num_classes: int, quantizers: Quantizers, *, axis_name: str | None = None, width: int = 4
) -> resnet.ResNet:
    """A ResNet of a stem and one block: the least with convolutions, batch norm, a shortcut and its sum."""
    return resnet.ResNet(num_classes, quantizers, (1,), width, axis_name=axis_name)


def an_eighth(csv: Path, folder: Path) -> str:
    """data.csv, in `folder`, of the tasks of another with every eighth image or so."""
    for path in csv.parent.glob(f"{csv.name}_*.csv"):
        header, *rows = path.read_text().splitlines()
        kept = [row for row in rows if zlib.crc32(row.partition(",")[0].encode()) % 8 == 0]
        (folder / path.name).write_text("\n".join([header, *kept]) + "\n")
    return str(folder / csv.name)


def silent(line: str) -> None:
    """A log that nobody reads."""


def stopping(kind: str, number: int) -> Watch:
    """A watch that interrupts the run at its `number`-th moment of a kind."""
    calls = []

    def watch(moment: Moment) -> None:
        calls.extend([None] * (moment.kind == kind))
        if len(calls) == number:
            raise KeyboardInterrupt

    return watch


def world_of(recipe: Recipe) -> World:
    """The data of a recipe."""
    recipe = complete(recipe)
    return make_world(recipe, read_source(recipe))


def state_of(built: Built, seed: int = 0, num_classes: int = 10, num_steps: int = 10) -> TrainState:
    """The state before a task of class counts 1, 2, ..."""
    params, batch_stats = built.network.init(seed)
    start, counts = StageStart(params, 1, num_classes), jnp.arange(1.0, num_classes + 1)
    return fresh_state(built.method, built.optimizer, start, batch_stats, counts, num_steps)
