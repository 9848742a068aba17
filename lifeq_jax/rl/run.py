"""A run on games: a recipe of one seed, or of several, from its games to its summary."""

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Diverged, Refusal
from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.rl.build import Compiled, World, compile_stage, make_world
from lifeq_jax.rl.tasks import Ask, Progress, Seed, train_run
from lifeq_jax.runs.columns import game_columns
from lifeq_jax.runs.folder import (
    RETURN_MATRIX,
    only_writer,
    open_run_folder,
    read_summary,
    refuse_other_seeds,
    write_diverged,
    write_seeds,
    write_summary,
)
from lifeq_jax.runs.provenance import commit, machine
from lifeq_jax.runs.write import RunFiles
from lifeq_jax.train.build import complete
from lifeq_jax.train.drive import drive
from lifeq_jax.train.identity import keep_code
from lifeq_jax.train.run import alone, is_finished, unwatched
from lifeq_jax.train.stage import Answer, Log, Watch


def run_games(recipe: GameRecipe, folder: str | Path, log: Log = print, watch: Watch = unwatched) -> dict[str, Any]:
    """Learns the games of a recipe one after the other.

    A run that was stopped resumes at its newest checkpoint, and a finished one returns at once.

    Args:
        recipe, folder, log, watch: as of `train.run.run_recipe`.

    Returns:
        The content of the run's summary.json.

    Raises:
        Refusal: bad settings, or a game whose package is not installed; nothing has been written then. Or a folder that
            belongs to another recipe.
        Diverged: numbers became infinite or NaN. The newest checkpoint holds none."""
    recipe, folder = complete(recipe), Path(folder)
    if is_finished(folder, recipe, log):
        return read_summary(folder)
    world = make_world(recipe)
    return alone(_whole_run(recipe, folder, world, _stages(recipe, world), log, watch))


def run_games_seeds(
    recipe: GameRecipe, seeds: Sequence[int], folder: str | Path, log: Log = print, watch: Watch = unwatched
) -> dict[str, Any]:
    """`run_games` for several seeds, which share all compiled programs.

    Arguments, result and exceptions are those of `train.drive.run_seeds`."""
    recipe, folder = complete(recipe), Path(folder)
    if len(set(seeds)) != len(seeds):
        raise Refusal(f"--seeds {','.join(map(str, seeds))} names a seed twice")
    refuse_other_seeds(folder, recipe)

    def log_of(seed: int) -> Log:
        return lambda line: log(f"seed {seed}  {line}")

    own = {seed: dataclasses.replace(recipe, seed=seed) for seed in seeds}
    wanted = [seed for seed in seeds if not is_finished(folder / f"seed{seed}", own[seed], log_of(seed))]
    if wanted:
        world = make_world(recipe)
        stages = _stages(recipe, world)
        runs = {
            seed: _whole_run(own[seed], folder / f"seed{seed}", world, stages, log_of(seed), watch) for seed in wanted
        }
        for seed, error in drive(runs).items():
            log_of(seed)(f"stopped: {error}")
    return write_seeds(folder)


def _stages(recipe: GameRecipe, world: World) -> list[Compiled]:
    return [compile_stage(recipe, number, world) for number in range(len(recipe.stages))]


def _whole_run(
    recipe: GameRecipe, folder: Path, world: World, stages: Sequence[Compiled], log: Log, watch: Watch
) -> Generator[Ask, Answer, dict[str, Any]]:
    version = commit()  # now, since the checkout may have changed when the run ends
    open_run_folder(folder, recipe)
    with ExitStack() as held:
        held.enter_context(only_writer(folder))
        keep_code(folder, recipe)
        files = held.enter_context(closing(RunFiles(folder, game_columns(len(world.games)))))
        try:
            progress = yield from train_run(Seed(recipe, world, folder, files, log, watch), stages)
        except Diverged as error:
            write_diverged(folder, str(error))
            raise
        _finish(recipe, folder, progress, version)
    return read_summary(folder)


def _finish(recipe: GameRecipe, folder: Path, progress: Progress, version: str) -> None:
    last, matrix = recipe.stages[-1], np.array(progress.matrix)
    matrix = matrix[:, : len(matrix)]
    names = recipe.games.names[: len(matrix)]
    summary = {
        "finished": True,
        "name": recipe.name,
        "seed": recipe.seed,
        "method": recipe.method.name,
        "bits": [last.weight_bits, last.act_bits],
        "games": list(names),
        "random": progress.random[: len(matrix)],
        "errors": [row[: len(matrix)] for row in progress.errors],
        "metrics": {f"return of {name}": float(value) for name, value in zip(names, matrix[-1], strict=True)}
        | whole_network(progress.layers),
        "stages": progress.stages,
        "seconds": round(progress.seconds, 1),
        "method_seconds": round(progress.method_seconds, 1),
        "commit": version,
        "machine": machine(),
    }
    write_summary(folder, summary, matrix, RETURN_MATRIX)
