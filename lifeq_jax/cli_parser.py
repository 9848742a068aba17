"""Shared by the parsers of all commands: errors in one line, defaults in the help."""

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifeq_jax.core.recipe_file import listed_recipes
from lifeq_jax.core.refusal import Refusal

RECIPE_HELP = "one of `lifeq-jax recipes`, or a file of yours: my.py, or my.py:NAME where it has several"


def add_recipe(command: argparse._ActionsContainer) -> None:
    """Adds the recipe that a command is given. Shells complete it (argcomplete) from the package's names and files."""

    def complete(prefix: str, **given: Any) -> list[str]:
        files = [str(path) + "/" * path.is_dir() for path in Path(".").glob(f"{prefix}*") if _may_hold_recipes(path)]
        return [*(listed.name for listed in listed_recipes() if listed.name.startswith(prefix)), *files]

    command.add_argument("recipe", help=RECIPE_HELP).completer = complete  # type: ignore[attr-defined]


def _may_hold_recipes(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".py"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with 2."""

    def error(self, message: str):
        """Refuses in one line."""
        raise Refusal(f"{self.prog}: {message} (see {self.prog} --help)")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Prints a default only if there is one, and the epilog's lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            textwrap.fill(line, width, subsequent_indent="    ", break_on_hyphens=False) for line in text.splitlines()
        )

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def add_command(commands, name: str, call: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """Adds a command that passes its parsed options to `call`; `text` is its help. Options cannot be abbreviated, since
    --seed is a key of recipes.

    Unknown words are refused, unless the default takes_keys of the command is True; then they are in options.rest."""
    added = commands.add_parser(name, help=text, description=text, formatter_class=Help, allow_abbrev=False)
    added.set_defaults(call=call, takes_keys=False)
    return added


def numbers(text: str) -> list[int]:
    """The seeds of --seeds. Refuses text that is not numbers separated by commas."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise Refusal(f"--seeds {text!r} is not a list of numbers like 0,1,2")
    return [int(word) for word in words]
