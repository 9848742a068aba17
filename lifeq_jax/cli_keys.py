"""A recipe's keys on the command line."""

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from lifeq_jax.core.config import Part, Recipe
from lifeq_jax.core.refusal import Refusal


def override(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """The recipe with command-line overrides like --stages.0.epochs 3. Refuses unknown keys and wrong values."""
    import tyro

    from lifeq_jax.train.build import TABLES, complete

    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for key in TABLES:
        names.add_argument(f"--{key}.name", f"--{key.replace('_', '-')}.name", dest=key)
    for key, name in vars(names.parse_known_args(words)[0]).items():
        if name not in (None, getattr(recipe, key).name):  # another row of a table takes other arguments
            other: dict[str, Any] = {key: Part(name)}
            recipe = dataclasses.replace(recipe, **other)
    recipe = complete(recipe)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Recipe, default=recipe, args=list(words), prog="lifeq-jax train RECIPE")
    except SystemExit as stop:
        if stop.code:
            raise Refusal(_one_line(said.getvalue())) from None
        raise


def _one_line(box: str) -> str:
    """The text of tyro's framed message, without the frame and the pointers to its help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()[1:]]
    lines = [line for line in lines if line and "full helptext" not in line]
    return " ".join(lines)
