"""A stage of one seed: what it is made of, what a checkpoint holds of it, and how it is opened."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from lifeq_jax.core.config import Recipe, Stage
from lifeq_jax.core.types import PyTree
from lifeq_jax.metrics.oscillation import Oscillations, oscillations
from lifeq_jax.train.bn_stats import make_reestimate
from lifeq_jax.train.build import Built, World, build_stage
from lifeq_jax.train.checkpoint import Checkpoints, Progress
from lifeq_jax.train.loop import Advance, Place, Scorer, advance_of, make_advance, make_scorer
from lifeq_jax.train.run_folder import Metrics
from lifeq_jax.train.step import TrainState, make_step

Log = Callable[[str], None]


class Best(NamedTuple):
    """What the task under way would end with: () until selection keeps something."""

    params: PyTree
    batch_stats: PyTree


class Saved(NamedTuple):
    """The arrays of a checkpoint."""

    state: TrainState
    best: Best | tuple[()]

    def save(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Writes a checkpoint."""
        network = {name: getattr(self.state, name) for name in ("params", "batch_stats")}
        checkpoints.save(network, self._training(), progress)

    def restore(self, checkpoints: Checkpoints) -> "Saved":
        """The newest checkpoint, in the structure of this one."""
        training = checkpoints.training(self._training())
        state = self.state._replace(**checkpoints.network(), **training["state"])
        return Saved(state, training["best"])

    def _training(self) -> PyTree:
        rest = {name: leaf for name, leaf in self.state._asdict().items() if name not in ("params", "batch_stats")}
        return {"state": rest, "best": self.best}


class StageRun(NamedTuple):
    """A stage under way: its objects, and where it reads and writes."""

    recipe: Recipe
    number: int  # of the stage, from 0
    stage: Stage
    world: World
    built: Built
    functions: tuple[Advance, Advance]  # with batch norm that follows the data, and that keeps its statistics
    advances: tuple[Advance, Advance]  # these, compiled
    scorer: Scorer
    reestimate: Callable[[PyTree, Iterable[jax.Array]], PyTree]  # (params, images) -> batch_stats
    measure: Callable[[PyTree, PyTree], Oscillations]  # (params, tracks by kernel name)
    checkpoints: Checkpoints
    metrics: Metrics
    log: Log

    def keeps_norm(self, task: int) -> bool:
        """Whether batch norm keeps its statistics in a task: which of `advances` trains it."""
        return 0 < self.recipe.norm_tasks <= task

    def steps(self, task: int) -> int:
        """Steps of an epoch of a task."""
        return len(self.world.tasks[task].train.index) // self.recipe.data.batch_size

    def place(self, progress: Progress) -> Place:
        """Where training stands."""
        return Place(self.recipe.seed, self.number, progress.task, progress.epoch)

    def rate(self, state: TrainState) -> float:
        """The learning rate of the next step."""
        return float(self.built.schedule(state.step / state.num_steps) * state.rate_factor)

    @property
    def num_tasks(self) -> int:
        """Tasks this stage trains on."""
        return self.stage.tasks or len(self.world.tasks)


def open_stage(recipe: Recipe, number: int, world: World, folder: Path, metrics: Metrics, log: Log) -> StageRun:
    """Builds and jits the functions of a stage and opens its checkpoint folder."""
    stage, devices = recipe.stages[number], world.devices
    built = build_stage(recipe, stage, devices.axis_name)
    data = recipe.data

    def advance(fixed_norm: bool) -> Advance:
        parts = (built.network, built.method, built.optimizer, built.loss)
        return advance_of(make_step(*parts, devices.axis_name, fixed_norm), world.input)

    scorer = make_scorer(built.network, world.input, world.spec, data.batch_size, data.num_classes, devices)
    functions = (advance(fixed_norm=False), advance(fixed_norm=True))
    return StageRun(
        recipe=recipe,
        number=number,
        stage=stage,
        world=world,
        built=built,
        functions=functions,
        advances=(make_advance(functions[0], devices), make_advance(functions[1], devices)),
        scorer=scorer,
        reestimate=make_reestimate(built.network.moments),
        measure=jax.jit(partial(oscillations, built.network.table)),
        checkpoints=Checkpoints(folder / "checkpoints" / stage.name),
        metrics=metrics,
        log=log,
    )


def with_seed(run: StageRun, recipe: Recipe, world: World, folder: Path, metrics: Metrics, log: Log) -> StageRun:
    """The stage of a recipe that differs from the run's own in its seed: the same compiled functions, other data."""
    scorer = run.scorer._replace(source=world.input, constants=world.input.constants)
    checkpoints = Checkpoints(folder / "checkpoints" / run.stage.name)
    return run._replace(recipe=recipe, world=world, scorer=scorer, checkpoints=checkpoints, metrics=metrics, log=log)
