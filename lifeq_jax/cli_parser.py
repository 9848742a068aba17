"""What the commands' parsers have in common: errors in one line, defaults in the help."""

import argparse
from collections.abc import Callable

from lifeq_jax.core.refusal import Refusal


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with 2."""

    def error(self, message: str):
        """Refuses in one line."""
        raise Refusal(f"{self.prog}: {message} (see {self.prog} --help)")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Names a default only where there is one to name."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def add_command(commands, name: str, call: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """Adds a command whose parsed options `call` gets; `text` is its help. --seed, a key, is not short for --seeds.

    Words that it does not know are refused unless its default takes_keys is set True; then they are options.rest."""
    added = commands.add_parser(name, help=text, description=text, formatter_class=Help, allow_abbrev=False)
    added.set_defaults(call=call, takes_keys=False)
    return added


def numbers(text: str) -> list[int]:
    """The seeds that --seeds names. Refuses what is not numbers with commas between them."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise Refusal(f"--seeds {text!r} is not a list of numbers like 0,1,2")
    return [int(word) for word in words]
