"""Names to objects, with a refusal that lists the choices."""

from collections.abc import Mapping
from typing import TypeVar

from lifeq_jax.core.refusal import Refusal

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, key: str) -> T:
    """Returns `table[name]`; refuses an unknown name, citing the config key it came from and the choices."""
    if name not in table:
        raise Refusal(f"{key}={name!r} is unknown; choose from {', '.join(sorted(table))}")
    return table[name]
