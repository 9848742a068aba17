"""Names to objects, with a refusal that lists the choices."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from lifeq_jax.core.refusal import Refusal

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, key: str) -> T:
    """Returns `table[name]`; refuses an unknown name, citing the config key it came from and the choices."""
    check_choice(table, name, key)
    return table[name]


def check_choice(choices: Collection[str], name: str, key: str) -> None:
    """Refuses a name that is not among the choices, citing the config key and the choices."""
    if name not in choices:
        raise Refusal(f"{key}={name!r} is unknown; choose from {', '.join(sorted(choices))}")
