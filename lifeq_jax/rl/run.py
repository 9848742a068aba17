"""A run on games: a recipe of one seed, or of several, from its games to its summary."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.rl.abreast import together
from lifeq_jax.rl.build import Compiled, World, compile_stage, make_world
from lifeq_jax.rl.tasks import Ask, Progress, Seed, train_run
from lifeq_jax.runs.columns import LAYERS, SCORES, game_columns
from lifeq_jax.runs.folder import (
    RETURN_MATRIX,
    only_writer,
    open_run_folder,
    read_summary,
    write_diverged,
    write_summary,
)
from lifeq_jax.runs.provenance import commit, machine
from lifeq_jax.runs.write import RunFiles
from lifeq_jax.train.build import complete
from lifeq_jax.train.drive import LogOf, drive_seeds
from lifeq_jax.train.identity import keep_code
from lifeq_jax.train.longer import Ends, go_on_longer
from lifeq_jax.train.run import alone, is_finished, unwatched
from lifeq_jax.train.stage import Answer, Log, Watch


def _steps(seed: Seed, task: int) -> int:
    games = seed.recipe.games
    return games.updates * games.passes * games.minibatches


OF_GAMES = Ends(Progress, (SCORES, LAYERS), _steps, lambda seed, progress: {"errors": progress.errors[:-1]})


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
    """`run_games` for several seeds, which share all compiled programs. On an accelerator, seeds at the same place of a
    compiled game are answered in one program, under vmap.

    Arguments, result and exceptions are those of `train.drive.run_seeds`."""
    recipe, folder = complete(recipe), Path(folder)

    def begin(wanted: Mapping[int, GameRecipe], log_of: LogOf) -> dict[int, Generator[Ask, Answer, dict[str, Any]]]:
        world = make_world(recipe)
        stages = _stages(recipe, world)
        return {
            seed: _whole_run(own, folder / f"seed{seed}", world, stages, log_of(seed), watch)
            for seed, own in wanted.items()
        }

    return drive_seeds(recipe, seeds, folder, log, begin, together)


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
        seed = Seed(recipe, world, folder, files, log, watch)
        go_on_longer(seed, [stage.method for stage in stages], OF_GAMES)
        try:
            progress = yield from train_run(seed, stages)
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
