"""How cost grows with the work: over batch sizes, widths, methods, seeds, rows of CSV files, runs of a report, cells of
a sweep."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import lifeq_jax as lq
from benchmarks.epochs import epochs, one_by_one, ready
from benchmarks.timing import (
    AGAIN,
    BenchmarkResult,
    alternate,
    check_counts,
    columns_of,
    load,
    medians,
    medians_of_ratios,
    surroundings,
)
from benchmarks.work import Work, bench_recipe, lifequant, on_noise, step_work
from lifeq_jax.api.cells import make_cells
from lifeq_jax.core.config import Part, Recipe, digest
from lifeq_jax.core.lookup import lookup
from lifeq_jax.data.lifelong import write_sequence
from lifeq_jax.data.order import ImageSpec, train_plan
from lifeq_jax.data.tables import ImageTable, catalog, load_tasks, rows_for_seed, table_of, task_rows
from lifeq_jax.methods import METHODS
from lifeq_jax.report.write import write_report
from lifeq_jax.runs.folder import CONFIG, open_run_folder
from lifeq_jax.train.build import build_method, complete

BATCHES = (32, 64, 128, 256, 512, 1024)
WIDTHS = (4, 8, 16)  # features of a small ResNet's first stage
SEEDS = (1, 2, 4, 8)
ROWS = (1_000, 10_000, 100_000, 1_280_000)
RUNS = (5, 50, 500)
CELLS = (10, 100, 1000)
CLASSES = 1000  # of the CSV files
RATE = "stages.0.learning_rate"  # that a sweep varies

Columns = dict[str, dict[str, float]]  # quantity -> row -> value


def bench_growth(over: str, model: str, batch_size: int, bits: int, repeats: int, steps: int) -> BenchmarkResult:
    """One table of `STEPS` or `FILES`: a row for each size, the other sizes as given.

    Refuses another name, numbers below 1, and widths of a model that has none."""
    lookup(dict.fromkeys([*STEPS, *FILES]), over, "over")
    check_counts(repeats=repeats, steps=steps)
    what, how, before = f"growth over {over}", {"repeats": repeats}, load()
    if over in FILES:
        return BenchmarkResult(what, how, _seconds(FILES[over], repeats), {}, surroundings(before))
    columns = STEPS[over](model, batch_size, bits, repeats, steps)
    how |= {"batch_size": batch_size, "bits": bits, "steps_of_each": steps}
    return BenchmarkResult(f"{what}, {model}", how, columns, {}, surroundings(before))


def _over_batches(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Columns:
    works = {f"batch {size}": step_work(complete(lifequant(model, size, bits))) for size in BATCHES}
    return _of_steps(works, {f"batch {size}": size for size in BATCHES}, repeats, steps)


def _over_widths(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Columns:
    def recipe(width: int) -> Recipe:
        return lifequant(model, batch_size, bits).replace({"model.args.width": width})

    works = {f"width {width}": step_work(complete(recipe(width))) for width in WIDTHS}
    return _of_steps(works, dict.fromkeys(works, batch_size), repeats, steps)


def _over_methods(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Columns:
    """Every method in the first of its tasks, with its default settings."""

    def recipe(method: str) -> Recipe:
        made = bench_recipe(model, batch_size, bits, method=Part(method))
        return made.replace({"data.replay": build_method(made.replace({"data.replay": True})).needs_replay})

    names = ("finetune", *(name for name in METHODS if name != "finetune"))
    works = {name: step_work(complete(recipe(name))) for name in names}
    works["finetune" + AGAIN] = works["finetune"]
    return _of_steps(works, dict.fromkeys(works, batch_size), repeats, steps)


def _over_seeds(model: str, batch_size: int, bits: int, repeats: int, steps: int) -> Columns:
    """Epochs of `steps` steps, of several seeds, one after the other."""
    stage, seeds = ready(complete(lifequant(model, batch_size, bits)), max(SEEDS), steps)
    runs = {f"{number} seeds": epochs(stage, seeds[:number], one_by_one) for number in SEEDS}
    times, processor = alternate(runs, repeats, 1)
    return {
        "images_per_second": {
            name: batch_size * steps * number / medians(times)[name] for name, number in zip(runs, SEEDS, strict=True)
        },
        "processor_seconds_of_an_epoch": medians(processor),
        "time_ratio_to_1_seed": medians_of_ratios(times, next(iter(runs))),
    }


def _of_steps(works: Mapping[str, Work], images: Mapping[str, int], repeats: int, steps: int) -> Columns:
    times, processor = alternate({name: work.run for name, work in works.items()}, repeats, steps)
    first = next(iter(works))
    return {
        "images_per_second": {name: images[name] / seconds for name, seconds in medians(times).items()},
        "processor_milliseconds_of_an_image": {
            name: 1e3 * seconds / images[name] for name, seconds in medians(processor).items()
        },
        f"processor_ratio_to_{first}".replace(" ", "_"): medians_of_ratios(processor, first),
        "gigabytes_of_temporaries": {name: work.temporaries / 1e9 for name, work in works.items()},
    }


Parts = dict[str, dict[str, float]]  # row -> part of the work -> processor seconds


def _seconds(measure: Callable[[], Parts], repeats: int) -> Columns:
    """Medians of `measure`, by part."""
    found = [measure() for _ in range(repeats)]
    lines = {
        row: {part: statistics.median(one[row][part] for one in found) for part in found[0][row]} for row in found[0]
    }
    return {f"processor_seconds_of_{part}": column for part, column in columns_of(lines).items()}


def _over_rows() -> Parts:
    """CSV files of so many rows in two tasks: reading them, the catalog, a seed's rows, the order of an epoch."""
    spec = ImageSpec((32, 32, 3), 4, (32, 32), (0.5,) * 3, (0.5,) * 3, True)
    lines = {}
    for number in ROWS:
        half = number // 2
        with tempfile.TemporaryDirectory() as folder:
            tables = [_table(range(half)), _table(range(half, number))]
            write_sequence(Path(folder, "rows"), {"train": tables, "test": [_table(range(1))] * 2})
            clock = _Clock()
            tasks = load_tasks(Path(folder, "rows"), 2, root=None, num_classes=CLASSES, replay=False)
            clock.stop("reading")
            known = catalog([table for task in tasks for table in task if table is not None])
            clock.stop("catalog")
            rows_for_seed(known, task_rows(known, tasks), 0.1, 0)
            clock.stop("rows_of_a_seed")
            train_plan(half, 1, spec, seed=0, stage=0, task=0, epoch=0)
            clock.stop("order_of_an_epoch")
        lines[f"{number} rows"] = clock.seconds
    return lines


def _table(numbers: range) -> ImageTable:
    return table_of([f"{n % CLASSES}/{n:08d}.jpg" for n in numbers], [n % CLASSES for n in numbers])


class _Clock:
    """Processor seconds between stops, by the name of the stop that ends them."""

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = seconds or {}
        self._start = time.process_time()

    def stop(self, name: str) -> None:
        self.seconds[name] = time.process_time() - self._start
        self._start = time.process_time()


def _over_runs() -> Parts:
    """So many runs of one recipe: reading them, and their report."""
    lines = {}
    with on_noise(bench_recipe("mlp", 2, 4), 2) as fed, tempfile.TemporaryDirectory() as folder:
        [run] = lq.train(fed, Path(folder, "one"), log=lambda line: None).finished
        for number in RUNS:
            place = Path(folder, str(number))
            for seed in range(number):
                copy = place / f"seed{seed}"
                shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns(CONFIG, "checkpoints"))
                open_run_folder(copy, run.recipe.replace({"seed": seed}))
            clock = _Clock()
            runs = lq.read(place)
            clock.stop("reading")
            write_report(runs.finished, place / "report")
            clock.stop("the_report")
            lines[f"{number} runs"] = clock.seconds
    return lines


def _over_cells() -> Parts:
    """Sweeps of so many cells, all of them finished: their recipes, going through them, their table."""
    lines = {}
    with on_noise(bench_recipe("mlp", 2, 4), 2) as fed, tempfile.TemporaryDirectory() as folder:
        rates = [0.01 + 1e-6 * number for number in range(max(CELLS))]
        first = lq.sweep(fed, {RATE: rates[:1]}, Path(folder, "one"), on="test")
        run = Path(str(first.rows()[0]["folder"]))
        for number in CELLS:
            place, grid = Path(folder, str(number)), {RATE: rates[:number]}
            clock = _Clock()
            cells = make_cells(fed, grid, "test")
            clock.stop("the_recipes")
            for cell in cells:
                copy = place / digest(cell.recipe) / run.name
                shutil.copytree(run, copy, ignore=shutil.ignore_patterns(CONFIG, "checkpoints"))
                open_run_folder(copy, cell.recipe)
            clock = _Clock(clock.seconds)
            swept = lq.sweep(fed, grid, place, on="test")
            clock.stop("recipes_and_runs")
            swept.table()
            clock.stop("the_table")
            lines[f"{number} cells"] = clock.seconds
    return lines


STEPS: dict[str, Callable[[str, int, int, int, int], Columns]] = {
    "batch": _over_batches,
    "width": _over_widths,
    "methods": _over_methods,
    "seeds": _over_seeds,
}  # of (model, batch size, bits, repeats, steps)
FILES: dict[str, Callable[[], Parts]] = {"rows": _over_rows, "runs": _over_runs, "cells": _over_cells}
