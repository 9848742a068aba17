"""The command `lifeq-jax sweep`: parses, calls one function, prints what it returns."""

import argparse
from pathlib import Path
from typing import Any, get_origin

from lifeq_jax.cli_keys import override, parsed
from lifeq_jax.cli_parser import add_command, add_recipe, numbers
from lifeq_jax.cli_workers import run_workers
from lifeq_jax.core.config import Recipe, kind_of
from lifeq_jax.core.game_recipe import GameRecipe, load_any
from lifeq_jax.core.refusal import Diverged, Refusal


def add_sweep(commands) -> None:
    """Adds the command."""
    text = "train every combination of some keys' values, or search for good ones; run again, it goes on where it stood"
    sweep = add_command(commands, "sweep", _sweep, text)
    sweep.set_defaults(takes_keys=True)
    add_recipe(sweep)
    sweep.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="a key and its values, as method.name=ewc,si; several --grid are combined",
    )
    sweep.add_argument("--search", type=int, metavar="N", help="search the --space by N trials, on validation images")
    sweep.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="KEY=LOW:HIGH",
        help="a key and its range, searched on a logarithmic axis, as method.args.strength=0.001:1000; with "
        "LOW:HIGH:linear on a plain one; or choices, as for --grid",
    )
    sweep.add_argument("--seeds", metavar="0,1,2", default="0", help="seeds of each combination")
    sweep.add_argument(
        "--on",
        choices=("validation", "test"),
        help="images to measure accuracies on (default: validation); choosing by test images is training on them",
    )
    sweep.add_argument(
        "--run", type=Path, help="folder of the sweep (default: runs/<name>_sweep, of a search runs/<name>_search)"
    )
    sweep.add_argument(
        "--slurm",
        type=int,
        metavar="N",
        help="share the work between N Slurm jobs, or processes of this machine where there is no Slurm (submitit)",
    )
    sweep.add_argument(
        "--slurm-settings",
        default="",
        metavar="NAME=VALUE,...",
        help="of submitit's jobs, as slurm_partition=gpu,gpus_per_node=1,timeout_min=240",
    )
    sweep.epilog = (
        "example: lifeq-jax sweep lifequant/resnet20_digits --grid method.name=finetune,er_ace "
        "--grid stages.2.weight-bits=2,4 --seeds 0,1 --data.validation 0.2\n"
        "Every key of the recipe can be overridden: --data.validation 0.2 --stages.0.epochs 5 ... A run that diverges "
        "is a result: the table names it with its reason, and the exit code is 0. It is 1 where no run finished.\n"
        "search:  lifeq-jax sweep lifequant/resnet20_digits --search 10 --space method.args.strength=1:1000 "
        "--space stages.2.learning-rate=0.01:0.2 --data.validation 0.2\n"
        "The same command in several processes, on machines that share the folder, shares the work."
    )


def _sweep(options: argparse.Namespace) -> None:
    loaded: Any = load_any(options.recipe)
    recipe = override(loaded, options.rest)
    if (options.search is None) != bool(options.grid) or (options.search is None) == bool(options.space):
        raise Refusal("a sweep takes --grid, or --search N and --space; see lifeq-jax sweep --help")
    if options.search is not None and options.on == "test":
        raise Refusal("--on test chooses nothing: a search looks at validation images alone")
    kind, parse, given = (
        ("sweep", parse_grid, options.grid) if options.search is None else ("search", parse_space, options.space)
    )
    varied = dict(parse(recipe, words) for words in given)
    folder = options.run or Path("runs") / f"{recipe.name}_{kind}"
    if options.slurm is not None:
        run_workers(_words(options, folder), folder / "slurm", options.slurm, options.slurm_settings)
    (_grid if options.search is None else _search)(recipe, varied, folder, options)


def _words(options: argparse.Namespace, folder: Path) -> list[str]:
    """The command of a worker."""
    words = ["sweep", options.recipe, "--seeds", options.seeds, "--run", str(folder)]
    words += [] if options.on is None else ["--on", options.on]
    words += [] if options.search is None else ["--search", str(options.search)]
    for name, values in (("--grid", options.grid), ("--space", options.space)):
        words += [word for value in values for word in (name, value)]
    return [*words, *options.rest]


def _grid(recipe: Any, grid: dict[str, list[Any]], folder: Path, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lifeq_jax.api.sweep import RETURN, sweep

    swept = sweep(recipe, grid, folder, numbers(options.seeds), on=options.on, log=tqdm.write)
    of_games = isinstance(recipe, GameRecipe)
    unit = "" if of_games else ", %"
    print(f"\n{swept.table()}\n\nmean ± sample standard deviation over n seeds{unit}  {folder}")
    if not _any_finished(swept):
        raise Diverged(f"none of the {len(swept.rows())} runs finished; the table says why")
    for metric in [f"{RETURN}{name}" for name in recipe.games.names] if of_games else ["average_accuracy"]:
        file = folder / f"{metric.replace(' ', '_').replace('/', '_')}.png"
        print(f"plot: {swept.plot(metric, by=next(iter(grid))).save(file)}")


def _search(recipe: Any, space: dict[str, Any], folder: Path, options: argparse.Namespace) -> None:
    from lifeq_jax.api.search import CHOSEN, search

    found = search(recipe, space, folder, options.search, numbers(options.seeds), log=print)
    print(f"\n{found.table()}\n\naverage accuracy on validation images, mean over the seeds, %")
    print(f"chosen: {' '.join(f'--{key} {value}' for key, value in found.values.items())}  {folder / CHOSEN}")


def _any_finished(swept: Any) -> bool:
    return any(row["status"] == "finished" for row in swept.rows())


def parse_space(recipe: Recipe | GameRecipe, words: str) -> tuple[str, Any]:
    """(key, Between or choices) of `KEY=LOW:HIGH`, `KEY=LOW:HIGH:linear` or `KEY=A,B`.

    Raises:
        Refusal: as `parse_grid`; or LOW or HIGH is not a number."""
    from lifeq_jax.api.search import Between

    key, _, values = words.partition("=")
    if ":" not in values:
        return parse_grid(recipe, words)
    ends, linear = values.removesuffix(":linear").split(":"), values.endswith(":linear")
    try:
        low, high = map(float, ends)
    except ValueError:
        raise Refusal(f"--space {words!r} has no range; write KEY=LOW:HIGH, or KEY=LOW:HIGH:linear") from None
    kind_of(recipe, key)
    return key, Between(low, high, log=not linear)


def parse_grid(recipe: Recipe | GameRecipe, words: str) -> tuple[str, list[Any]]:
    """(key, values) of `KEY=A,B`, with values of the type of the recipe's key.

    Raises:
        Refusal: the key is unknown, takes no single values, or a value is of another type."""
    key, equals, values = words.partition("=")
    if not equals:
        raise Refusal(f"--grid {words!r} lacks its values; write --grid method.name=ewc,si")
    kind, _ = kind_of(recipe, key)
    if get_origin(kind) is tuple:
        raise Refusal(f"--grid {key}: a value of this key is a list itself; lq.sweep of Python takes lists of lists")
    try:
        return key, [parsed([value], kind) for value in values.split(",")]
    except (ValueError, KeyError, OverflowError):
        raise Refusal(f"--grid {words!r}: {key} is of type {getattr(kind, '__name__', kind)}") from None
