"""Kills runs of every method at random moments, resumes them and compares their ends with unbroken runs, bit for bit.

    python -m tests.kills [--kills 100] [--seed 0] [--work FOLDER]        or: make kills

In the folder, a temporary one by default, what differs from its unbroken run is left to be looked at.

Small networks on scikit-learn's digits. Every method trains with both inputs, once each as a variant: checkpoints every
other epoch, the best epoch kept, weights frozen, two seeds in one program. A run is killed by SIGKILL at a random time
or while a checkpoint is half written, and two in five runs are killed twice. Children are forks of a process that has
only imported the package, so that most of the time goes to training.

Compared: all CSV files but images per second, config.json, data.json, summary.json without times, memory and commit,
the numbers of the checkpoints, what their folders are called, and all arrays of the newest checkpoint of every stage by
bytes and type.
Prints kills and equal ends; exits with 1 where they differ."""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lifeq_jax.api.speed import fast_cpu
from lifeq_jax.core.config import Data, Part, Recipe, Stage
from lifeq_jax.methods import METHODS
from lifeq_jax.runs.columns import METRICS

VARIANTS: tuple[dict, ...] = (
    {},
    {"checkpoint_every": 2},
    {"selection": "best"},
    {"oscillation": Part("freeze", {"threshold": 0.05, "threshold_end": 0.02, "momentum": 0.1})},
    {"seeds": (0, 1)},
)
OF_A_PROCESS = ("seconds", "method_seconds", "peak_megabytes", "commit")  # in summary.json
PATIENCE = 900  # seconds that a run may take


class Case(NamedTuple):
    """A recipe, and the seeds that train together; none: a run of its own."""

    name: str
    recipe: Recipe
    seeds: tuple[int, ...]


def cases(root: Path) -> list[Case]:
    """Every method with both inputs, each time another variant."""
    found = []
    for number, (method, how) in enumerate((m, i) for m in sorted(METHODS) for i in ("resident", "pipeline")):
        variant = dict(VARIANTS[number % len(VARIANTS)])
        seeds = variant.pop("seeds", ())
        data = Data(
            root=str(root / "images"), csv=str(root / "digits"), num_tasks=3, num_classes=10, image=(8, 8, 1),
            crop=(8, 8), pad=1, flip=False, mean=(0.305,), std=(0.376,), batch_size=64, input=how,
            validation=0.2 if variant.get("selection") == "best" else 0.0,
        )  # fmt: skip
        recipe = Recipe(
            name="kills",
            data=data,
            model=Part("mlp", {"hidden": 16}),
            stages=(Stage("w32", 32, 32, 2, 0.05, tasks=1), Stage("w4", 4, 4, 3, 0.02)),
            method=Part(method),
            **variant,
        )
        said = next(iter(VARIANTS[number % len(VARIANTS)]), "plain")
        found.append(Case(f"{method}, {how}, {said}", recipe, seeds))
    return found


def train(case: Case, folder: Path) -> None:
    """Trains the case in this process, from where its folder stands."""
    from lifeq_jax.train.drive import run_seeds
    from lifeq_jax.train.run import run_recipe

    if case.seeds:
        run_seeds(case.recipe, case.seeds, folder, log=lambda line: None)
    else:
        run_recipe(case.recipe, folder, log=lambda line: None)


def forked(function: Callable, *args) -> int:
    """The id of a child process that calls a function; its exit status is 0 where that returns."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        function(*args)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(child: int) -> int | None:
    """The exit status of a child, None while it runs."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def finished(child: int) -> bool:
    """Waits for a child; whether it did its work. One that takes too long is killed."""
    until = time.monotonic() + PATIENCE
    while (status := ended(child)) is None:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print(f"process {child} took more than {PATIENCE} s", file=sys.stderr)
            return False
        time.sleep(0.01)
    return status == 0


def half_written(folder: Path) -> set[str]:
    """The checkpoints under way below a folder."""
    with contextlib.suppress(OSError):
        return {str(path) for path in folder.glob("**/checkpoints/*/*.orbax-checkpoint-tmp")}
    return set()


def killed(case: Case, folder: Path, draw: random.Random, seconds: float) -> str | None:
    """Trains in a child and kills it at a drawn moment: 'time' or 'save'; None where it ended before."""
    child, began = forked(train, case, folder), time.monotonic()
    in_save, moment, number = draw.random() < 0.5, draw.uniform(0.1, 0.9) * seconds, draw.randint(1, 8)
    seen: set[str] = set()
    while ended_now(child) is None:
        if in_save:
            seen |= half_written(folder)
        if (in_save and len(seen) >= number) or (not in_save and time.monotonic() - began > moment):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "save" if half_written(folder) else "time"
        time.sleep(0.002)
    return None


def ended_now(child: int) -> int | None:
    """As `ended`; says when a child failed by itself."""
    status = ended(child)
    if status:
        raise RuntimeError(f"process {child} ended by itself with {status}")
    return status


def state_of(folder: Path) -> dict[str, object]:
    """All that a run folder, or each of several seeds, holds and that must not depend on kills."""
    from tests.train.killed_runs import checkpointed, metrics

    state: dict[str, object] = {}
    for run in sorted(path.parent for path in folder.glob("**/config.json")):
        name = str(run.relative_to(folder))
        tables = sorted(path.name for path in run.glob("*.csv") if path.name != METRICS)
        for file in (*tables, "config.json", "data.json"):
            state[f"{name}/{file}"] = (run / file).read_text()
        state[f"{name}/{METRICS}"] = metrics(run)
        summary = json.loads((run / "summary.json").read_text())
        state[f"{name}/summary.json"] = {key: value for key, value in summary.items() if key not in OF_A_PROCESS}
        state[f"{name}/files"] = sorted(str(path.relative_to(run)) for path in run.glob("checkpoints/*/*"))
        state[f"{name}/parts"] = sorted(path.name for path in run.glob(".*.part"))
        for stage in sorted(path.name for path in (run / "checkpoints").iterdir()):
            for leaf, array in checkpointed(run, stage).items():
                state[f"{name}/{stage}/{leaf}"] = (str(array.dtype), array.shape, array.tobytes())
    return state


def compare(whole: Path, broken: Path) -> None:
    """Raises AssertionError, naming what differs between two folders."""
    wanted, found = state_of(whole), state_of(broken)
    differ = [key for key in sorted(wanted.keys() | found.keys()) if wanted.get(key) != found.get(key)]
    assert wanted and not differ, f"{broken} differs from {whole} in {', '.join(differ)}"


def prepared(work: Path) -> Path:
    """A folder with the digits' images and three tasks of them."""
    from lifeq_jax.data.lifelong import make_lifelong
    from lifeq_jax.data.prepare import prepare
    from lifeq_jax.data.replay import make_replay

    root = work / "data"
    prepare(root / "images", "digits", download=False, seed=0)
    make_lifelong(root / "images", root / "digits", num_tasks=3, diminish_rate=0.25)
    make_replay(root / "digits", num_tasks=3, rate=0.2)
    return root


@contextlib.contextmanager
def working(folder: Path | None) -> Iterator[Path]:
    """The folder to work in; a temporary one where none is given."""
    if folder is not None:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def broken_run(case: Case, folder: Path, draw: random.Random, seconds: float) -> list[str]:
    """Kills a run once or twice and lets it end; returns how each kill hit it.

    Raises:
        AssertionError: it did not end."""
    kills = []
    for _ in range(1 + (draw.random() < 0.4)):
        kind = killed(case, folder, draw, seconds)
        kills += [kind] if kind else []
    assert finished(forked(train, case, folder)), f"{folder} did not end"
    return kills


def campaign(work: Path, wanted: int, seed: int) -> bool:
    """Kills as often as wanted; prints a row for each case, and returns whether all ends were equal."""
    child = forked(prepared, work)
    assert finished(child), "no data"
    draw, chosen = random.Random(seed), cases(work / "data")
    draw.shuffle(chosen)
    kills: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    number = 0
    while kills.total() < wanted:
        case = chosen[number % len(chosen)]
        whole, folder = work / "runs" / f"whole{number % len(chosen)}", work / "runs" / f"broken{number}"
        if case.name not in seconds:
            began = time.monotonic()
            assert finished(forked(train, case, whole)), f"{case.name}: the unbroken run failed"
            seconds[case.name] = time.monotonic() - began
        hits = broken_run(case, folder, draw, seconds[case.name])
        if finished(forked(compare, whole, folder)):
            equal[case.name] += len(hits)
            shutil.rmtree(folder)
        kills[case.name] += len(hits)
        kinds.update(hits)
        number += 1
        print(f"{case.name}: {', '.join(hits) or 'no kill'}; {equal.total()} of {kills.total()}", flush=True)
    print("\n| case | kills | equal ends |\n|---|---|---|")
    for case in sorted(chosen, key=lambda case: case.name):
        print(f"| {case.name} | {kills[case.name]} | {equal[case.name]} |")
    print(f"\nkills {kills.total()}, of them in a save {kinds['save']}; equal ends {equal.total()}; runs {number}")
    return equal.total() == kills.total()


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    fast_cpu()
    # imported once, before the forks, and nothing is computed here
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow  # noqa: F401

    import lifeq_jax.train.drive  # noqa: F401
    import tests.train.killed_runs  # noqa: F401

    with working(options.work) as work:
        return 0 if campaign(work, options.kills, options.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
