"""python -m benchmarks: parses, measures, prints the table."""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lifeq_jax.cli import run_command
from lifeq_jax.cli_keys import override
from lifeq_jax.cli_parser import Parser, add_command
from lifeq_jax.core.config import Checked, Recipe
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.recipe_file import find_recipe

# of the benchmarks that take one
RECIPES: dict[str, type[Checked]] = {"oscillation": Recipe, "goal": Recipe, "games": GameRecipe}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the words name; returns the exit code, as the command lifeq-jax does."""
    return run_command(_parser(), words)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks", description="Measure speed on this machine, or the accuracy of every method."
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    text = (
        "training images/s, float, LifeQuant, ClimbQ, LSQ with freezing and BLIP, beside what the device can do at most"
    )
    step = _add(commands, "step", text)
    _add_network(step)
    _add_precision(step)
    text = "training step with the package's own gradients of convolutions, beside those that JAX derives"
    gradients = _add(commands, "gradients", text)
    _add_model(gradients)
    _add_batch_size(gradients)
    text = "images/s of a whole resident training epoch, float and LifeQuant, relative to its training step alone"
    epoch = _add(commands, "epoch", text, steps=8)
    epoch.add_argument("--model", help="network for 32x32 images (default: resnet20 and mlp)")
    _add_batch(epoch)
    text = "time of a resident epoch of five seeds side by side, relative to one seed's"
    _add_network(_add(commands, "seeds", text, steps=8))
    text = "images/s of the resident and the tf.data input, alone and feeding a training step"
    _add_network(_add(commands, "input", text, steps=8))
    text = "seconds from the start of a process to its first training step, with an empty and a full compilation cache"
    _add_network(_add(commands, "compile", text, repeats=3, steps=None))
    text = "time of the exact Fisher information of BLIP's networks, relative to a training step"
    fisher = _add(commands, "fisher", text)
    fisher.add_argument("--model", help="alexnet_32 or resnet18_84 (default: both)")
    fisher.add_argument("--batch-size", type=int, default=100, help="images in a batch")
    text = "time of a recipe's training step with tracking, dampening and freezing, relative to none of them"
    oscillation = _add(commands, "oscillation", text)
    oscillation.set_defaults(takes_keys=True)
    oscillation.add_argument("recipe", help="recipe; its keys can be overridden as in train")
    text = "time of an exported network's files in onnxruntime, relative to a float32 network of the same layers"
    exported = _add(commands, "export", text)
    exported.add_argument("export", type=Path, help="folder that lifeq-jax export has written")
    text = "steps/s of acting, emulator and learning, alone and together, and how much of the first two overlaps"
    games = _add(commands, "games", text)
    games.set_defaults(takes_keys=True)
    games.add_argument("recipe", help="recipe of games; its keys can be overridden as in train")
    text = (
        "training step of our systems beside PyTorch, a hand-written LSQ, Brevitas and qwix, where they are installed"
    )
    beside = _add(commands, "peers", text)
    _add_network(beside)
    _add_precision(beside)
    text = "epochs and seconds until a recipe's run reaches an accuracy on the images that it is evaluated on"
    goal = add_command(commands, "goal", _measure, text)
    goal.set_defaults(takes_keys=True)
    goal.add_argument("recipe", help="recipe; its keys can be overridden as in train")
    goal.add_argument("--accuracy", type=float, default=94.0, help="%%, mean over the tasks")
    goal.add_argument("--json", type=Path, help="also write the numbers to this file")
    text = (
        "how cost grows over batches, widths, methods, seeds, rows of CSV files, runs of a report or cells of a sweep"
    )
    growth = _add(commands, "growth", text, repeats=5, steps=2)
    growth.add_argument("over", help="batch, width, methods, seeds, rows, runs or cells")
    _add_network(growth)
    text = "memory, processor time and open files of a run's first, middle and last tasks, of very many"
    many = add_command(commands, "tasks", _measure, text)
    many.add_argument("--tasks", type=int, default=100, help="tasks of the run")
    many.add_argument("--json", type=Path, help="also write the numbers to this file")
    _add_batch(many)
    lqcl = add_command(
        commands, "lqcl", _lqcl, "average accuracy of every method on five sequences of unbalanced tasks"
    )
    lqcl.add_argument(
        "--sequences", nargs="+", metavar="NAME", help="of those in benchmarks/lqcl_data.py (default: all)"
    )
    lqcl.add_argument("--rows", nargs="+", metavar="NAME", help="of those in benchmarks/lqcl_rows.py (default: all)")
    lqcl.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="that are measured on test images")
    lqcl.add_argument("--trials", type=int, default=10, help="settings tried for a row on validation images")
    lqcl.add_argument("--bits", type=int, default=4, help="other bits than 4 take the settings found at 4")
    lqcl.add_argument("--out", type=Path, default=Path("results/lqcl"), help="folder of the results")
    return parser


def _lqcl(options: argparse.Namespace) -> None:
    from benchmarks.lqcl import run_lqcl

    print(run_lqcl(options.sequences, options.rows, options.seeds, options.trials, options.bits, options.out))


def _add(commands: Any, name: str, text: str, repeats: int = 9, steps: int | None = 4) -> argparse.ArgumentParser:
    command = add_command(commands, name, _measure, text)
    command.add_argument("--repeats", type=int, default=repeats, help="alternating repeats; medians are printed")
    if steps is not None:
        command.add_argument("--steps", type=int, default=steps, help="steps in a repeat")
    command.add_argument("--json", type=Path, help="also write the numbers to this file")
    return command


def _add_network(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_batch(command)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="resnet20", help="network for 32x32 images, row of the recipes' models")


def _add_batch(command: argparse.ArgumentParser) -> None:
    _add_batch_size(command)
    command.add_argument("--bits", type=int, default=4, help="bits of weights and activations")


def _add_batch_size(command: argparse.ArgumentParser) -> None:
    command.add_argument("--batch-size", type=int, default=128, help="images in a batch")


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument("--precision", default="float32", help="float32 or bfloat16, as in a recipe")


def _measure(options: argparse.Namespace) -> None:
    # here, since they import JAX, which reads the environment that run_command sets
    from benchmarks import epochs, exported, fisher, games, goal, growth, inputs, peers, start, steps, tasks

    benchmarks: dict[str, Callable[..., Any]] = {
        "step": steps.bench_step,
        "epoch": epochs.bench_epoch,
        "seeds": epochs.bench_seeds,
        "input": inputs.bench_input,
        "compile": start.bench_compile,
        "fisher": fisher.bench_fisher,
        "gradients": steps.bench_gradients,
        "oscillation": steps.bench_oscillation,
        "peers": peers.bench_peers,
        "export": exported.bench_export,
        "tasks": tasks.bench_tasks,
        "games": games.bench_games,
        "goal": goal.bench_goal,
        "growth": growth.bench_growth,
    }
    if options.what in RECIPES:
        options.recipe = override(find_recipe(options.recipe, RECIPES[options.what]), options.rest)
    benchmark = benchmarks[options.what]
    found = benchmark(**{name: getattr(options, name) for name in inspect.signature(benchmark).parameters})
    print(found.text())
    if options.json:
        options.json.write_text(json.dumps(found.numbers(), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
