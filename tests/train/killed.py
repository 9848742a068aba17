"""Trains a recipe from a run of the tests and kills its own process at a chosen moment.

    python -m tests.train.killed CONFIG.json RUN MOMENT

MOMENT: `epoch N` after the N-th epoch, before its checkpoint; `save N` inside the N-th save, when part of its files
are written; `never`."""

import os
import signal
import sys
from pathlib import Path

from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.rl.run import run_games
from lifeq_jax.train.run import run_recipe
from lifeq_jax.train.stage import Moment, Watch


def killing(kind: str, number: int) -> Watch:
    """A watch that kills the process at its `number`-th moment of a kind."""
    calls = []

    def watch(moment: Moment) -> None:
        calls.extend([None] * (moment.kind == kind))
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def kill_inside(function, number: int):
    """`function`, which kills the process at its `number`-th call, before any of its work."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return counted


def main(config: str, run: str, what: str, number: str = "0") -> None:
    """Arms the kill and trains."""
    if what == "save":
        # orbax commits a checkpoint by renaming it: dying just before leaves all its files under a temporary name
        Path.rename = kill_inside(Path.rename, int(number))
        os.rename = kill_inside(os.rename, int(number))
    recipe, watch = read_any(Path(config)), killing("epoch", int(number) if what == "epoch" else 0)
    if isinstance(recipe, GameRecipe):
        run_games(recipe, run, watch=watch)
        return
    run_recipe(recipe, run, watch=watch)


if __name__ == "__main__":
    main(*sys.argv[1:])
