"""Several seeds of a recipe in one program: answers what their runs ask for, under vmap where that is faster."""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Diverged, Refusal
from lifeq_jax.data.tables import naming_rows
from lifeq_jax.runs.folder import refuse_other_seeds, write_seeds
from lifeq_jax.train.abreast import make_together, vmap_is_faster
from lifeq_jax.train.build import complete
from lifeq_jax.train.run import compile_stages, csvs, is_finished, unwatched, whole_run
from lifeq_jax.train.stage import Answer, Log, Watch
from lifeq_jax.train.world import make_world, read_source

R = TypeVar("R", Recipe, GameRecipe)
LogOf = Callable[[int], Log]  # seed -> its log
Begin = Callable[[Mapping[int, R], LogOf], Mapping[int, Generator[Any, Answer, Any]]]
"""(recipes of the seeds that are not finished, log of a seed) -> their runs"""
Together = Callable[[Sequence[Any]], Sequence[Any]]
"""What several runs ask for, of equal order -> the answers, computed in one program"""


def run_seeds(
    recipe: Recipe, seeds: Sequence[int], folder: str | Path, log: Log = print, watch: Watch = unwatched
) -> dict[str, Any]:
    """Trains a recipe with several seeds in one program on one device.

    Seed s has the run folder `folder`/seed<s>, which is as `run_recipe` leaves it and may be resumed by either. A seed
    that diverges stops alone: the others train to the end.

    Args:
        recipe, log, watch: as of `run_recipe`; the lines begin with the seed.
        seeds: the seeds to train.
        folder: the folder of the run folders.

    Returns:
        The content of `folder`/seeds.json, over all seeds in the folder: `metrics` of those that finished, with the
        mean and sample standard deviation of each, and `unfinished`, {seed: why}, of the others.

    Raises:
        Refusal: as `run_recipe`; or a seed is named twice, or the recipe asks for several devices."""
    recipe, folder = complete(recipe), Path(folder)
    if recipe.parallel != "none":
        raise Refusal(f"--seeds trains on one device, and recipe.parallel={recipe.parallel!r}; choose 'none'")

    def begin(wanted: Mapping[int, Recipe], log_of: LogOf) -> dict[int, Generator[Any, Answer, Any]]:
        source = read_source(recipe)
        worlds = {seed: make_world(own, source) for seed, own in wanted.items()}
        stages = compile_stages(recipe, next(iter(worlds.values())))
        return {
            seed: whole_run(own, folder / f"seed{seed}", source, worlds[seed], stages, log_of(seed), watch)
            for seed, own in wanted.items()
        }

    with naming_rows(csvs(recipe)):
        return drive_seeds(recipe, seeds, folder, log, begin, make_together())


def drive_seeds(
    recipe: R, seeds: Sequence[int], folder: Path, log: Log, begin: Begin[R], together: Together
) -> dict[str, Any]:
    """Finishes the runs of the seeds of a completed recipe; `begin` is called once, unless all are finished. Result and
    refusals are those of `run_seeds`."""
    if len(set(seeds)) != len(seeds):
        raise Refusal(f"--seeds {','.join(map(str, seeds))} names a seed twice")
    refuse_other_seeds(folder, recipe, seeds)

    def log_of(seed: int) -> Log:
        return lambda line: log(f"seed {seed}  {line}")

    own = {seed: dataclasses.replace(recipe, seed=seed) for seed in seeds}
    wanted = {seed: one for seed, one in own.items() if not is_finished(folder / f"seed{seed}", one, log_of(seed))}
    for seed, error in drive(begin(wanted, log_of), together).items() if wanted else ():
        log_of(seed)(f"stopped: {error}")
    return write_seeds(folder)


def drive(runs: Mapping[int, Generator[Any, Answer, Any]], together: Together) -> dict[int, Diverged]:
    """Runs all generators to their end, those furthest behind first, several by `together` if that is faster; returns
    {seed: Diverged} of those that failed."""
    asked: dict[int, Any] = {}
    own = dict.fromkeys(runs, 0.0)  # seconds that a run took for itself since its last answer
    diverged: dict[int, Diverged] = {}

    def go_on(seed: int, answer: Answer | None) -> None:
        began = perf_counter()
        try:
            asked[seed] = runs[seed].send(answer)
        except StopIteration:
            pass
        except Diverged as error:
            diverged[seed] = error
        own[seed] = perf_counter() - began

    with ExitStack() as opened:
        for seed, run in runs.items():
            opened.enter_context(closing(run))
            go_on(seed, None)
        while asked:
            first = min(ask.order() for ask in asked.values())
            group = [seed for seed, ask in asked.items() if ask.order() == first]
            began = perf_counter()
            asks = [asked.pop(seed) for seed in group]
            alone = len(asks) == 1 or not vmap_is_faster()
            results = [ask.compute() for ask in asks] if alone else together(asks)
            share = (perf_counter() - began) / len(group)
            for seed, result in zip(group, results, strict=True):
                go_on(seed, (result, own[seed] + share))
    return diverged
