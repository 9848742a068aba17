"""What a run takes task after task: memory, processor time, open files."""

import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import BenchmarkResult, columns_of, load, surroundings
from benchmarks.work import bench_recipe, on_noise
from lifeq_jax.core.config import Optimizer, Part, Recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.run import run_recipe
from lifeq_jax.train.stage import Moment

GROUP = 10  # tasks of a row
PAGE = resource.getpagesize()


def bench_tasks(tasks: int, batch_size: int, bits: int) -> BenchmarkResult:
    """What a whole run of EWC and of LifeQuant on `tasks` tasks takes in the first tasks, in
    the middle and in the last: an mlp on noise of 32x32 pixels, permuted by task, an epoch of two batches each.

    Resident memory and open files at the end of a task, the largest of GROUP tasks; processor seconds of a task of all
    threads, their median. Refuses fewer than 3 GROUP tasks."""
    if tasks < 3 * GROUP:
        raise Refusal(f"tasks={tasks} is out of range; choose {3 * GROUP} or more")
    before = load()
    methods = {"EWC": Part("ewc"), "LifeQuant": Part("lifequant")}
    rows = {}
    for name, method in methods.items():
        for place, found in _by_place(_recipe(tasks, batch_size, bits, method)).items():
            rows[f"{name}, {place}"] = found
    how = {"tasks": tasks, "batch_size": batch_size, "bits": bits}
    return BenchmarkResult("a task among many", how, columns_of(rows), {}, surroundings(before))


def _recipe(tasks: int, batch_size: int, bits: int, method: Part) -> Recipe:
    recipe = bench_recipe("mlp", batch_size, bits, method=method, evaluate_every=0, optimizer=Optimizer(max_norm=1.0))
    data = dataclasses.replace(recipe.data, num_tasks=tasks, permuted=True, pad=0, flip=False)
    return dataclasses.replace(recipe, data=data, model=Part("mlp", {"hidden": 32}))


def _by_place(recipe: Recipe) -> dict[str, dict[str, float]]:
    seen = []

    def watch(moment: Moment) -> None:
        if moment.kind == "task":
            seen.append((_resident(), time.process_time(), _open_files()))

    with on_noise(recipe, 2) as fed, tempfile.TemporaryDirectory() as folder:
        run_recipe(fed, Path(folder), lambda line: None, watch)
    middle = len(seen) // 2 - GROUP // 2
    places = (1, middle, len(seen) - GROUP)  # the very first task compiles
    return {f"tasks {n + 1} to {n + GROUP}": _of(seen[n - 1 : n + GROUP]) for n in places}


def _of(seen: list[tuple[float, float, int]]) -> dict[str, float]:
    memory, times, files = zip(*seen, strict=True)
    return {
        "resident_megabytes": max(memory[1:]),
        "processor_seconds": statistics.median(b - a for a, b in zip(times, times[1:], strict=False)),
        "open_files": max(files[1:]),
    }


def _resident() -> float:
    """Megabytes of this process now; on systems without /proc its largest so far."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1e-6 if sys.platform == "darwin" else 1e-3)


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
