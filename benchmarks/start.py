"""The time of a new process until its first training step, with an empty and with a full compilation cache."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

from benchmarks.timing import AGAIN, BenchmarkResult, check_counts, load, medians, surroundings
from benchmarks.work import first_state, lifequant, random_batch
from lifeq_jax.core.keys import key_for
from lifeq_jax.train.build import build_stage, complete
from lifeq_jax.train.stage import step_of

ROOT = Path(__file__).parent.parent
PARTS = ("start", "import", "build", "init", "trace", "compile", "step")
CACHES = ("cold", "warm", "warm" + AGAIN)
PROGRAM = """
import time
begin = time.perf_counter()
from benchmarks.start import first_step
first_step(time.perf_counter() - begin, {model!r}, {batch_size}, {bits})
"""


def bench_compile(model: str, batch_size: int, bits: int, repeats: int) -> BenchmarkResult:
    """Seconds of a new process until LifeQuant's first training step on 32x32 images, by part.

    Every repeat starts a process with an empty compilation cache (cold), then two with the cache of the first (warm,
    and warm again as a control). The parts: the interpreter's start and end, imports, the stage's objects, parameters
    and state, tracing, compiling or reading from the cache, one step. The result has medians over repeats and, for the
    total, the processor time, which other work on the machine hardly changes."""
    check_counts(repeats=repeats)
    complete(lifequant(model, batch_size, bits))  # refuses bad arguments here, in one line, before the processes start
    before = load()
    seconds: dict[str, list[dict[str, float]]] = {cache: [] for cache in CACHES}
    program = PROGRAM.format(model=model, batch_size=batch_size, bits=bits)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for parts in seconds.values():
                parts.append(_one_process(program, folder))
    return BenchmarkResult(
        f"seconds of a fresh process to its first training step, {model}, LifeQuant {bits}-bit, 32x32",
        {"batch_size": batch_size, "repeats": repeats},
        {
            part: medians({cache: [found[part] for found in repeat] for cache, repeat in seconds.items()})
            for part in ("total", "processor", *PARTS)
        },
        {},
        surroundings(before),
    )


def _one_process(program: str, folder: str) -> dict[str, float]:
    begin, before = time.perf_counter(), os.times()
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": folder}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    total, after = time.perf_counter() - begin, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    parts = json.loads(done.stdout.splitlines()[-1])
    return {"start": total - sum(parts.values()), **parts, "total": total, "processor": processor}


def first_step(importing: float, model: str, batch_size: int, bits: int) -> None:
    """Runs one training step and prints the seconds of its parts as JSON; `importing`: seconds of the imports."""
    times = [time.perf_counter()]
    recipe = complete(lifequant(model, batch_size, bits))
    built = build_stage(recipe, recipe.stages[0])
    times.append(time.perf_counter())
    batch = random_batch(recipe.data)
    state = first_state(built, batch, recipe.data.num_classes)
    jax.block_until_ready((batch, state))
    times.append(time.perf_counter())
    lowered = jax.jit(step_of(built), donate_argnums=0).lower(state, batch, key_for(0))
    times.append(time.perf_counter())
    compiled = lowered.compile()
    times.append(time.perf_counter())
    jax.block_until_ready(compiled(state, batch, key_for(0)))
    times.append(time.perf_counter())
    spent = [after - before for before, after in zip(times, times[1:], strict=False)]
    print(json.dumps(dict(zip(PARTS[1:], [importing, *spent], strict=True))))
