"""Records of a stage: its compiled functions, what a seed owns, a checkpoint's arrays, and requests for computation."""

from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.types import PyTree
from lifeq_jax.metrics.oscillation import Oscillations, oscillations
from lifeq_jax.runs.write import Row, RunFiles
from lifeq_jax.train.bn_stats import make_reestimate
from lifeq_jax.train.build import Built, build_stage
from lifeq_jax.train.checkpoint import Checkpoints, kept_network
from lifeq_jax.train.classify import Score, classification, make_score
from lifeq_jax.train.loop import (
    Advance,
    Assemble,
    EpochResult,
    Place,
    ScoreFeeds,
    advance_of,
    evaluate_rows,
    score_feeds_of,
    train_epoch,
)
from lifeq_jax.train.memory import fitting
from lifeq_jax.train.step import Objective, Step, TrainState, make_step, zero_totals
from lifeq_jax.train.world import World


class Compiled(NamedTuple):
    """A stage's objects and compiled functions, the same for all seeds.

    Each is traced once for all tasks of the stage: they differ in data, not in shapes."""

    number: int  # of the stage, from 0
    stage: Stage
    built: Built
    objective: Objective
    functions: tuple[Advance, Advance]  # with updated, and with fixed, batch-norm statistics
    advances: tuple[Advance, Advance]  # `functions`, compiled, refused without memory; state and totals are donated
    score_feeds: ScoreFeeds
    score: ScoreFeeds  # the same, compiled
    assemble: Assemble
    reestimate: Callable[[PyTree, Iterable[jax.Array]], PyTree]  # (params, images) -> batch_stats
    measure: Callable[[PyTree, PyTree], Oscillations]  # (params, tracks by kernel name)


def step_of(built: Built, axis_name: str | None = None, fixed_norm: bool = False) -> Step:
    """The training step of a stage's objects; axis_name and fixed_norm as in `make_step` and `classification`."""
    objective = classification(built.network, built.method, built.loss, axis_name, fixed_norm)
    return make_step(objective, built.network, built.method, built.optimizer, axis_name)


def compile_stage(recipe: Recipe, number: int, world: World) -> Compiled:
    """Builds and jits the functions of a stage, given the `world` of any seed.

    Raises:
        Refusal: an argument of the recipe is out of range."""
    stage, devices = recipe.stages[number], world.devices
    built, axis = build_stage(recipe, stage, devices.axis_name), devices.axis_name
    following, keeping = (advance_of(step_of(built, axis, fixed), world.input) for fixed in (False, True))
    score_feeds = score_feeds_of(make_score(built.network, axis), world.input)

    def advance(function: Advance) -> Advance:
        compiled = devices.compile(function, split=3, donate=(0, 1))
        return fitting(compiled, world.batch_size) if devices.mesh is None else compiled

    return Compiled(
        number=number,
        stage=stage,
        built=built,
        objective=classification(built.network, built.method, built.loss),
        functions=(following, keeping),
        advances=(advance(following), advance(keeping)),
        score_feeds=score_feeds,
        score=devices.compile(score_feeds, split=4),
        assemble=jax.jit(world.input.assemble),
        reestimate=make_reestimate(built.network.moments),
        measure=jax.jit(partial(oscillations, built.network.table)),
    )


class Moment(NamedTuple):
    """The argument of a run's `watch`."""

    kind: Literal["epoch", "task", "checkpoint"]
    """epoch: it has been trained, evaluated and written; task: it has ended; both come before the checkpoint that
    follows. checkpoint: it has been written"""
    place: Place  # of the epoch just trained
    state: TrainState
    row: Row  # of metrics.csv


Log = Callable[[str], None]
Watch = Callable[[Moment], None]


class Seed(NamedTuple):
    """What belongs to one seed: its recipe, data and run folder."""

    recipe: Recipe
    world: World
    folder: Path
    files: RunFiles
    log: Log
    watch: Watch

    def keeps_norm(self, task: int) -> bool:
        """Whether batch norm keeps its statistics in a task, i.e. the index into `Compiled.advances`."""
        return 0 < self.recipe.norm_tasks <= task


class Best(NamedTuple):
    """The best parameters of the current task so far; () until selection keeps some."""

    params: PyTree
    batch_stats: PyTree


class Saved(NamedTuple):
    """The arrays of a checkpoint."""

    state: TrainState
    best: Best | tuple[()]

    def save(self, checkpoints: Checkpoints, progress: Any) -> None:
        """Writes a checkpoint."""
        network = {name: getattr(self.state, name) for name in ("params", "batch_stats")}
        checkpoints.save(network, self._training(), progress)

    def restore(self, checkpoints: Checkpoints) -> "Saved":
        """The newest checkpoint, in the structure of this one."""
        training = checkpoints.training(self._training())
        state = self.state._replace(**checkpoints.network(), **training["state"])
        return Saved(state, training["best"])

    def keep(self, run: Path, stage: str, progress: Any) -> None:
        """Writes the network alone, as that of the end of a task, of which `progress` holds the numbers."""
        task = progress.task
        network = {name: getattr(self.state, name) for name in ("params", "batch_stats")}
        with closing(Checkpoints(kept_network(run, stage, task), type(progress))) as checkpoints:
            checkpoints.save(network, {"task": np.int32(task)}, progress._replace(done=True))

    def _training(self) -> PyTree:
        rest = {name: leaf for name, leaf in self.state._asdict().items() if name not in ("params", "batch_stats")}
        return {"state": rest, "best": self.best}


class Epoch(NamedTuple):
    """A request for the steps of one epoch."""

    stage: Compiled
    seed: Seed
    state: TrainState  # donated
    place: Place

    def compute(self) -> tuple[TrainState, EpochResult]:
        """The answer, for this seed alone."""
        task, world = self.place.task, self.seed.world
        advance, totals = self.stage.advances[self.seed.keeps_norm(task)], zero_totals(self.stage.objective)
        return train_epoch(advance, totals, world, world.tasks[task].train, self.state, self.place)

    def order(self) -> tuple:
        """Sort key: the smallest is answered first; equal ones of several seeds may be answered together."""
        return (*self.place[1:], 0, (self.seed.world.steps(self.place.task),))


class AllTasks(NamedTuple):
    """A request for the scores on every task of the sequence, including those not yet trained on."""

    stage: Compiled
    seed: Seed
    state: TrainState
    place: Place

    def compute(self) -> list[Score]:
        """As of Epoch."""
        world, state = self.seed.world, self.state
        return [
            evaluate_rows(self.stage.score, world, task.score, state.params, state.batch_stats) for task in world.tasks
        ]

    def order(self) -> tuple:
        """As of Epoch."""
        return (*self.place[1:], 1, tuple(len(task.score.index) for task in self.seed.world.tasks))


Ask = Epoch | AllTasks
Answer = Any  # (result of `compute`, seconds that the run has taken since the previous answer)
