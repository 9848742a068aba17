"""The commands `lifeq-jax bench ...`: parse, measure, print the table."""

import argparse
import json
from pathlib import Path
from typing import Any

from lifeq_jax.cli_keys import override
from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.config import load_recipe


def add_bench(bench: argparse.ArgumentParser) -> None:
    """Adds what `lifeq-jax bench` measures."""
    commands = bench.add_subparsers(dest="what", required=True, metavar="WHAT")
    text = (
        "training images/s, float, LifeQuant, ClimbQ, LSQ with freezing and BLIP, beside what the device can do at most"
    )
    _add_network(_add(commands, "step", _step, text))
    text = "images/s of a whole resident training epoch, float and LifeQuant, relative to its training step alone"
    epoch = _add(commands, "epoch", _epoch, text, steps=8)
    epoch.add_argument("--model", help="network for 32x32 images (default: resnet20 and mlp)")
    _add_batch(epoch)
    text = "time of a resident epoch of five seeds side by side, relative to one seed's"
    _add_network(_add(commands, "seeds", _seeds, text, steps=8))
    text = "images/s of the resident and the tf.data input, alone and feeding a training step"
    _add_network(_add(commands, "input", _input, text, steps=8))
    text = "seconds from the start of a process to its first training step, with an empty and a full compilation cache"
    _add_network(_add(commands, "compile", _compile, text, repeats=3, steps=None))
    text = "time of the exact Fisher information of BLIP's networks, relative to a training step"
    fisher = _add(commands, "fisher", _fisher, text)
    fisher.add_argument("--model", help="alexnet_32 or resnet18_84 (default: both)")
    fisher.add_argument("--batch-size", type=int, default=100, help="images in a batch")
    text = "time of a recipe's training step with tracking, dampening and freezing, relative to none of them"
    oscillation = _add(commands, "oscillation", _oscillation, text)
    oscillation.set_defaults(takes_keys=True)
    oscillation.add_argument("recipe", type=Path, help="recipe file; its keys can be overridden as in train")
    text = "training images/s of ResNet-20 beside the same network written in PyTorch, where torch is installed"
    _add_batch(_add(commands, "torch", _torch, text))


def _add(commands, name: str, call, text: str, repeats: int = 9, steps: int | None = 4) -> argparse.ArgumentParser:
    command = add_command(commands, name, call, text)
    command.add_argument("--repeats", type=int, default=repeats, help="alternating repeats; medians are printed")
    if steps is not None:
        command.add_argument("--steps", type=int, default=steps, help="steps in a repeat")
    command.add_argument("--json", type=Path, help="also write the numbers to this file")
    return command


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="resnet20", help="network for 32x32 images, row of the recipes' models")
    _add_batch(command)


def _add_batch(command: argparse.ArgumentParser) -> None:
    command.add_argument("--batch-size", type=int, default=128, help="images in a batch")
    command.add_argument("--bits", type=int, default=4, help="bits of weights and activations")


def _step(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.steps import bench_step

    _tell(bench_step(options.model, options.batch_size, options.bits, options.repeats, options.steps), options.json)


def _epoch(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.epochs import MODELS, bench_epoch

    models = (options.model,) if options.model else MODELS
    _tell(bench_epoch(models, options.batch_size, options.bits, options.repeats, options.steps), options.json)


def _seeds(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.epochs import bench_seeds

    _tell(bench_seeds(options.model, options.batch_size, options.bits, options.repeats, options.steps), options.json)


def _input(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.inputs import bench_input

    _tell(bench_input(options.model, options.batch_size, options.bits, options.repeats, options.steps), options.json)


def _compile(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.start import bench_compile

    _tell(bench_compile(options.model, options.batch_size, options.bits, options.repeats), options.json)


def _fisher(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.fisher import NETWORKS, bench_fisher

    models = (options.model,) if options.model else tuple(NETWORKS)
    _tell(bench_fisher(models, options.batch_size, options.repeats, options.steps), options.json)


def _oscillation(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.steps import bench_oscillation

    recipe = override(load_recipe(options.recipe), options.rest)
    _tell(bench_oscillation(recipe, options.repeats, options.steps), options.json)


def _torch(options: argparse.Namespace) -> None:
    from lifeq_jax.bench.beside_torch import bench_torch

    _tell(bench_torch(options.batch_size, options.bits, options.repeats, options.steps), options.json)


def _tell(found: Any, path: Path | None) -> None:
    print(found.text())
    if path:
        path.write_text(json.dumps(found.numbers(), indent=2) + "\n")
