"""The command line: parses, calls one function, prints what it returns."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lifeq_jax.api.speed import fast_cpu
from lifeq_jax.cli_data import add_data
from lifeq_jax.cli_doctor import add_doctor
from lifeq_jax.cli_errors import (
    EXIT_FAILED,
    end_at_signals,
    error_line,
    only_main_thread_tells,
    quiet_libraries,
    start_jax,
)
from lifeq_jax.cli_export import add_export, add_predict
from lifeq_jax.cli_games import (
    add_playing,
    add_render,
    are_games,
    eval_game,
    layers_of_games,
    report_games,
    run_one_of_games,
    show_seeds_of_games,
)
from lifeq_jax.cli_keys import key_lines, override
from lifeq_jax.cli_parser import Parser, add_command, add_recipe, numbers
from lifeq_jax.cli_processes import go_on_in_a_child, leave
from lifeq_jax.cli_recipes import add_recipes
from lifeq_jax.cli_start import add_start
from lifeq_jax.cli_sweep import add_sweep
from lifeq_jax.core.config import Recipe
from lifeq_jax.core.game_recipe import GameRecipe, load_any, read_any
from lifeq_jax.core.refusal import Diverged, Refusal


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    return run_command(_parser(), words)


def run_command(parser: Parser, words: Sequence[str] | None) -> int:
    """Runs the command that `words` select from a parser made with `add_command`; returns the exit code, as `main`.

    None means the words of the process; signals then end it, and its libraries stay silent."""
    if words is None:
        end_at_signals(parser.prog)
        only_main_thread_tells()
    _set_environment()
    options = argparse.Namespace()
    own_process = words is None
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow
        import argcomplete

        argcomplete.autocomplete(parser)
    try:
        options, rest = parser.parse_known_args(words)
        if rest and not options.takes_keys:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.rest, options.own_process = rest, own_process
        options.call(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, e.g. `head`, has closed the pipe; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (Exception, KeyboardInterrupt) as error:
        line = error_line(error, getattr(options, "batch_size", None), getattr(options, "folder", None))
        if line is None:
            raise
        print(f"{parser.prog}: {line[0]}", file=sys.stderr)
        if own_process:
            leave(line[1])
        return line[1]
    return 0


def _set_environment() -> None:
    # messages of libraries would bury the one line of a refusal
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    for name in ("absl", "matplotlib"):  # absl: Orbax also logs, with a traceback, every exception that it raises
        logging.getLogger(name).setLevel(logging.CRITICAL)
    quiet_libraries()
    fast_cpu()


def _parser() -> Parser:
    parser = Parser(prog="lifeq-jax", description="Train low-bit networks on a sequence of unbalanced tasks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_start(commands)
    add_data(commands.add_parser("data", help="make and inspect the CSV files of tasks"))
    add_recipes(commands)
    _add_train(commands)
    add_sweep(commands)
    _add_eval(commands)
    _add_report(commands)
    add_export(commands)
    add_predict(commands)
    add_render(commands)
    _add_toy(commands)
    add_doctor(commands)
    return parser


def _add_train(commands) -> None:
    train = add_command(
        commands, "train", _train, "train a recipe; run again, it resumes. Every key can be overridden."
    )
    train.set_defaults(takes_keys=True)
    add_recipe(train)
    trained = train.add_argument_group("what is trained")
    trained.add_argument("--run", type=Path, help="run folder (default: runs/<name>/seed<seed>)")
    trained.add_argument(
        "--seeds",
        metavar="0,1,2",
        help="train several seeds in one program, in run folders seed<s> under --run (default: runs/<name>)",
    )
    looked = train.add_argument_group("only look, and train nothing")
    looked.add_argument("--keys", action="store_true", help="explain every key, with its value in this recipe")
    looked.add_argument("--layers", action="store_true", help="list the bits of every layer in the last stage")
    train.epilog = (
        "examples:\n"
        "  lifeq-jax train lifequant/resnet20_digits --seeds 0,1,2\n"
        "  lifeq-jax train lifequant/resnet20_digits --run runs/ewc --method.name ewc --method.args.strength 0.1\n"
        "  lifeq-jax train my.py --stages.-1.weight-bits 2 --data.batch-size 64 --precision bfloat16\n"
        f"\nkeys of a recipe, each followed by its value (N: 0, 1, ..., or -1, -2, ... from the end):\n{key_lines()}"
    )


class _Kind(NamedTuple):
    """The functions that `train` calls for one kind of recipe."""

    layers: Callable[[Any], Mapping[str, Any]]
    run: Callable[[Any, Path], None]  # (recipe, run folder), and shows what came of it
    run_seeds: Callable[[Any, Sequence[int], Path], Mapping[str, Any]]
    show_seeds: Callable[[Path, Mapping[str, Any]], None]


def _train(options: argparse.Namespace) -> None:
    loaded: Any = load_any(options.recipe)
    recipe = override(loaded, [*options.rest, *(["--help"] if options.keys else [])])
    if isinstance(recipe, Recipe):
        options.batch_size = recipe.data.batch_size  # for the message when memory is used up
    together = isinstance(recipe, Recipe) and recipe.parallel == "mesh" and options.seeds is None
    join = together and not options.layers
    if join and options.own_process:
        go_on_in_a_child("lifeq-jax")
    start_jax(join)
    from lifeq_jax.rl.run import run_games_seeds
    from lifeq_jax.train.build import layer_bits
    from lifeq_jax.train.drive import run_seeds

    if isinstance(recipe, GameRecipe):
        kind = _Kind(layers_of_games, run_one_of_games, run_games_seeds, show_seeds_of_games)
    else:
        kind = _Kind(lambda own: layer_bits(own, own.stages[-1]), _run_one, run_seeds, _print_seeds)
    _train_as(kind, recipe, options)


def _train_as(kind: _Kind, recipe: Recipe | GameRecipe, options: argparse.Namespace) -> None:
    if options.layers:
        _print_layers(kind.layers(recipe))
        return
    default = Path("runs") / recipe.name
    if options.seeds is None:
        options.folder = options.run or default / f"seed{recipe.seed}"  # for the message when the disk is full
        kind.run(recipe, options.folder)
        return
    folder, seeds = options.run or default, numbers(options.seeds)
    options.folder = folder
    content = kind.run_seeds(recipe, seeds, folder)
    kind.show_seeds(folder, content)
    failed = [f"seed {seed} {content['unfinished'][str(seed)]}" for seed in seeds if str(seed) in content["unfinished"]]
    if failed:
        raise Diverged("; ".join(failed))


def _run_one(recipe: Recipe, folder: Path) -> None:
    from lifeq_jax.train.mesh import is_writer
    from lifeq_jax.train.run import run_recipe

    if is_writer():
        print(f"run folder: {folder}")
    summary = run_recipe(recipe, folder)
    if is_writer():
        _print_result(folder, recipe, summary)


def _print_seeds(folder: Path, summary: Mapping[str, Any]) -> None:
    print(f"\nseeds {', '.join(map(str, summary['seeds']))}: mean ± sample standard deviation, %  {folder}/seeds.json")
    for name, found in summary["metrics"].items():
        spread = "" if found["std"] is None else f" ± {100 * found['std']:.2f}"
        print(f"  {name:20s} {100 * found['mean']:6.2f}{spread}")


def _print_layers(table: Mapping[str, Any]) -> None:
    width = max(map(len, table))
    print(f"{'layer':{width}s}  weights  activations")
    for path, (weight, activation) in table.items():
        print(f"{path:{width}s}  {weight or '':>7}  {activation or '':>11}")


def _print_result(folder: Path, recipe: Recipe, summary: dict) -> None:
    metrics = summary["metrics"]
    _print_accuracies(folder, recipe, metrics)
    if "capacity" in metrics:
        used, dead = (100 * metrics[name] for name in ("capacity", "dead_units"))
        print(f"capacity used {used:.2f} %   dead units {dead:.2f} %")


def _print_accuracies(folder: Path, recipe: Recipe, metrics: dict[str, float]) -> None:
    from lifeq_jax.runs.folder import MATRIX
    from lifeq_jax.runs.read import read_matrix

    matrix = read_matrix(folder, recipe)
    balanced = f"balanced accuracy {100 * metrics['balanced_accuracy']:.2f} %"
    if len(matrix) == 1:  # nothing to forget
        print(f"\naccuracy {100 * metrics['average_accuracy']:.2f} %   {balanced}")
        return
    print(f"\naccuracy matrix (row: after task i, column: on task j, %)  {folder / MATRIX}")
    for row in matrix:
        print("  " + " ".join(f"{100 * value:6.2f}" for value in row))
    average, forgetting = (100 * metrics[name] for name in ("average_accuracy", "forgetting"))
    print(f"average accuracy {average:.2f} %   forgetting {forgetting:.2f} %   {balanced}")


def _add_eval(commands) -> None:
    text = "evaluate a run's network on the images of a CSV, or its agent in one of its games"
    evaluate = add_command(commands, "eval", _eval, text)
    evaluate.add_argument("run", type=Path, help="run folder")
    evaluate.add_argument("--csv", type=Path, help="CSV with the header image,label; for a run on images")
    evaluate.add_argument("--root", type=Path, help="folder of the images (default: the recipe's)")
    evaluate.add_argument("--stage", help="stage of the chain (default: the last)")
    evaluate.add_argument(
        "--after-task",
        type=int,
        help="the network of the end of this task, from 0, of a run whose recipe has keep='task'",
    )
    evaluate.add_argument(
        "--task",
        type=int,
        help="task of the images, from 0 as in the names of CSV files, where a run's tasks have heads of their own",
    )
    evaluate.add_argument("--episodes", type=int, default=30, help="games that an agent plays, all at once")
    add_playing(evaluate)
    _add_bounds(evaluate)


def _add_bounds(command: argparse.ArgumentParser) -> None:
    command.add_argument("--many", type=int, default=100, help="many-shot classes have more training images than this")
    command.add_argument("--few", type=int, default=20, help="few-shot classes have fewer training images than this")


def _eval(options: argparse.Namespace) -> None:
    start_jax()
    from lifeq_jax.metrics.classify import check_bounds
    from lifeq_jax.runs.folder import CONFIG
    from lifeq_jax.train.evaluate import evaluate_run

    check_bounds(options.many, options.few)
    if isinstance(read_any(options.run / CONFIG), GameRecipe):
        eval_game(options)
        return
    if options.csv is None:
        raise Refusal("--csv is missing: the images that the network is evaluated on")
    result = evaluate_run(
        options.run,
        options.csv,
        root=options.root,
        stage=options.stage,
        task=options.task,
        after_task=options.after_task,
    )
    for note in result.notes:
        print(f"note: {note}")
    print(f"stage {result.stage} (weights {result.bits[0]} bits, activations {result.bits[1]}), {result.images} images")
    print(f"accuracy {100 * result.accuracy:.2f} %   balanced {100 * result.balanced_accuracy:.2f} %")
    if result.train_images is not None:
        _print_shot_groups(result.per_class, result.train_images, options.many, options.few)
    print(f"cross-entropy {result.loss:.4f} nats")
    width = max(map(len, result.class_names))
    for name, accuracy in zip(result.class_names, result.per_class, strict=True):
        if accuracy == accuracy:
            print(f"  class {name:>{max(width, 4)}s}  {100 * accuracy:6.2f} %")


def _print_shot_groups(per_class, train_images, many: int, few: int) -> None:
    from lifeq_jax.metrics.classify import shot_groups

    said = {"many": f"more than {many}", "medium": f"{few} to {many}", "few": f"fewer than {few}"}
    for name, accuracy in shot_groups(per_class, train_images, many, few)._asdict().items():
        shown = f"{100 * accuracy:6.2f} %" if accuracy == accuracy else "     -  "
        print(f"  {name:6s} {shown}  classes with {said[name]} training images")


def _add_report(commands) -> None:
    report = add_command(commands, "report", _report, "write Markdown and plots of finished runs; seeds are grouped")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, or folders of seeds")
    report.add_argument(
        "--out", type=Path, help="folder of the report (default: <run>/report, or ./report for several)"
    )
    _add_bounds(report)


def _report(options: argparse.Namespace) -> None:
    from lifeq_jax.report.write import write_report
    from lifeq_jax.runs.read import read_runs

    out = options.out or (options.runs[0] / "report" if len(options.runs) == 1 else Path("report"))
    if are_games(options.runs):
        path, others = report_games(options.runs, out)
    else:
        runs, others = read_runs(options.runs)
        path = write_report(runs, out, others=others, many=options.many, few=options.few)
    for folder, status in others:
        print(f"not finished, and left out: {folder} ({status})")
    print(f"report: {path} and, as one page, {path.with_suffix('.html')}")


def _add_toy(commands) -> None:
    toy = add_command(commands, "toy", _toy, "the toy problem of oscillating weights, as numbers and as a plot")
    toy.add_argument("--out", type=Path, default=Path("toy.png"), help="PNG file of the plot")
    toy.add_argument("--steps", type=int, default=2000, help="steps of gradient descent")


def _toy(options: argparse.Namespace) -> None:
    start_jax()
    import numpy as np

    from lifeq_jax.report.oscillation_plots import draw_toy
    from lifeq_jax.report.plots import save
    from lifeq_jax.toy import toy_runs

    toy = toy_runs(options.steps)
    middle = len(toy.rate) // 2
    print(
        "best value's distance from its grid point (steps): oscillations per step, amplitude (steps), by learning rate"
    )
    for name, runs in toy.series.items():
        for place, distance in enumerate(toy.distance):
            pairs = zip(toy.rate, runs.frequency[:, place], runs.amplitude[:, place], strict=True)
            shown = "   ".join(f"{rate:g}: {often:.3f}, {wide:.4f}" for rate, often, wide in pairs)
            print(f"{name:7s} {distance:.2f}   {shown}")
    figure = draw_toy(
        series={name: np.asarray(runs.latent[middle]) for name, runs in toy.series.items()},
        grid=np.array([toy.threshold - 0.5, toy.threshold + 0.5]),
        distance=np.asarray(toy.distance),
        frequency={name: np.asarray(runs.frequency[middle]) for name, runs in toy.series.items()},
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save(figure, options.out)
    print(f"plot: {options.out}")
