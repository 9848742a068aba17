"""Trains a recipe from a run of the tests and kills its own process at a chosen moment.

    python -m tests.train.killed CONFIG.json RUN MOMENT

MOMENT: `epoch N` after the N-th epoch, before its checkpoint; `save N` inside the N-th save, when part of its files
are written; `never`."""

import os
import signal
import sys
from pathlib import Path

from lifeq_jax.core.config import read_recipe
from lifeq_jax.train import tasks
from lifeq_jax.train.run import run_recipe


def kill_at(number: int, function, after: bool):
    """`function`, which kills the process at its `number`-th call: after the call, or in the middle of its work."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted


def main(config: str, run: str, what: str, number: str = "0") -> None:
    """Arms the kill and trains."""
    if what == "epoch":
        tasks.run_epoch = kill_at(int(number), tasks.run_epoch, after=True)
    if what == "save":
        # orbax commits a checkpoint by renaming it: dying just before leaves all its files under a temporary name
        Path.rename = kill_at(int(number), Path.rename, after=False)
        os.rename = kill_at(int(number), os.rename, after=False)
    run_recipe(read_recipe(Path(config)), run)


if __name__ == "__main__":
    main(*sys.argv[1:])
