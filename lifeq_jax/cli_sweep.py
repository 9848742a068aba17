"""The command `lifeq-jax sweep`: parses, calls one function, prints what it returns."""

import argparse
from pathlib import Path
from typing import Any, get_origin

from lifeq_jax.cli_keys import override, parsed
from lifeq_jax.cli_parser import add_command, add_recipe, numbers
from lifeq_jax.core.config import Recipe, kind_of
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.core.refusal import Diverged, Refusal


def add_sweep(commands) -> None:
    """Adds the command."""
    sweep = add_command(
        commands, "sweep", _sweep, "train every combination of some keys' values; run again, it goes on where it stood"
    )
    sweep.set_defaults(takes_keys=True)
    add_recipe(sweep)
    sweep.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="KEY=A,B",
        help="a key and its values, as method.name=ewc,si; several --grid are combined",
    )
    sweep.add_argument("--seeds", metavar="0,1,2", default="0", help="seeds of each combination")
    sweep.add_argument(
        "--on",
        choices=("validation", "test"),
        default="validation",
        help="images that accuracies are measured on; choosing by test images is training on them",
    )
    sweep.add_argument("--run", type=Path, help="folder of the sweep (default: runs/<name>_sweep)")
    sweep.epilog = (
        "example: lifeq-jax sweep lifequant/resnet20_digits --grid method.name=finetune,er_ace "
        "--grid stages.2.weight-bits=2,4 --seeds 0,1 --data.validation 0.2\n"
        "Every key of the recipe can be overridden: --data.validation 0.2 --stages.0.epochs 5 ... A run that diverges "
        "is a result: the table names it with its reason, and the exit code is 0. It is 1 where no run finished."
    )


def _sweep(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lifeq_jax.api.sweep import sweep

    recipe = override(load_recipe(options.recipe), options.rest)
    folder = options.run or Path("runs") / f"{recipe.name}_sweep"
    grid = dict(parse_grid(recipe, words) for words in options.grid)
    swept = sweep(recipe, grid, folder, numbers(options.seeds), on=options.on, log=tqdm.write)
    picture = swept.plot("average_accuracy", by=next(iter(grid))) if _any_finished(swept) else None
    print(f"\n{swept.table()}\n\nmean ± sample standard deviation over n seeds, %  {folder}")
    if picture is None:
        raise Diverged(f"none of the {len(swept.rows())} runs finished; the table says why")
    print(f"plot: {picture.save(folder / 'average_accuracy.png')}")


def _any_finished(swept: Any) -> bool:
    return any(row["status"] == "finished" for row in swept.rows())


def parse_grid(recipe: Recipe, words: str) -> tuple[str, list[Any]]:
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
