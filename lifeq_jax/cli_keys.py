"""A recipe's keys on the command line."""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lifeq_jax.core.config import Checked, Part, Recipe, Stage, kind_of, replaced
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.refusal import Refusal

TRUTH = {"true": True, "false": False}


R = TypeVar("R", Recipe, GameRecipe)


def override(recipe: R, words: Sequence[str]) -> R:
    """The recipe with command-line overrides like --stages.0.epochs 3; --help lists all keys and exits.

    Refuses unknown keys and wrong values."""
    from lifeq_jax.train.build import TABLES, complete

    said = _said([word for word in words if word not in ("--help", "-h")])
    names = {f"{table}.name" for table in TABLES}
    rows = {key: given for key, given in said.items() if key.replace("-", "_") in names}
    recipe = complete(replaced(recipe, _values(recipe, rows)))  # the rows decide which arguments exist, and their types
    recipe = complete(replaced(recipe, _values(recipe, said)))
    if {"--help", "-h"} & {*words}:
        import tyro

        tyro.cli(type(recipe), default=recipe, args=["--help"], prog="lifeq-jax train RECIPE")
    return recipe


def key_lines() -> str:
    """All keys of recipes, by the record that they belong to, for a help text."""
    groups: dict[str, list[str]] = {"KEY": [], "stages.N.KEY": _fields(Stage)}
    parts = []
    for name, kind in (get_type_hints(Recipe) | get_type_hints(GameRecipe)).items():
        if kind is Part:
            parts.append(name)
        elif isinstance(kind, type) and issubclass(kind, Checked):
            groups[f"{name}.KEY"] = _fields(kind)
        elif name not in ("stages", "LIMITS"):
            groups["KEY"].append(name)
    lines = [f"  --{group}: {', '.join(names)}" for group, names in groups.items()]
    return "\n".join([*lines, f"  --PART.name, --PART.args.ARGUMENT: {', '.join(parts)}"]).replace("_", "-")


def _fields(kind: type[Checked]) -> list[str]:
    return [item.name for item in dataclasses.fields(kind)]


def parsed(words: Sequence[str], kind: Any) -> Any:
    """Parses words as a value of an annotated type: true and false, none, numbers like 1e-3, and for a tuple several
    words, or one with commas, with or without brackets. Raises ValueError for other words, and for no words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        items = re.sub(r"^[\[(]|[\])]$", "", " ".join(words).strip()).replace(",", " ").split()
        kinds = (args[0],) * len(items) if args[-1] is Ellipsis else args
        return tuple(parsed([item], item_kind) for item, item_kind in zip(items, kinds, strict=True))
    (word,) = words
    if origin is Literal:
        return {str(choice): choice for choice in args}.get(word, word)
    if origin in (Union, types.UnionType):
        return _first(word, sorted(args, key=UNION_ORDER.index))
    return PARSERS[kind](word)


def _first(word: str, kinds: Sequence[Any]) -> Any:
    for kind in kinds:
        try:
            return PARSERS[kind](word)
        except ValueError:
            continue
    raise ValueError


def _bool(word: str) -> bool:
    try:
        return TRUTH[word.lower()]
    except KeyError:
        raise ValueError from None


def _int(word: str) -> int:
    number = float(word) if re.search("[.eE]", word) else int(word)
    if number != int(number):
        raise ValueError
    return int(number)


def _none(word: str) -> None:
    if word.lower() != "none":
        raise ValueError


PARSERS: dict[Any, Callable[[str], Any]] = {bool: _bool, int: _int, float: float, str: str, types.NoneType: _none}
UNION_ORDER = [types.NoneType, bool, int, float, str]


def _said(words: Sequence[str]) -> dict[str, list[str]]:
    """The words after each key; if a key occurs twice, those of its last occurrence."""
    said: dict[str, list[str]] = {}
    own: list[str] | None = None
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            own = said[key] = [value] if equals else []
        elif own is None:
            raise Refusal(f"{word!r} stands before any key; keys begin with --, as in --seed 1")
        else:
            own.append(word)
    return said


def _values(recipe: Recipe | GameRecipe, said: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The values of keys; --flip is --flip true, and --no-flip is --flip false."""
    values = {}
    for key, words in said.items():
        positive = re.sub(r"(^|\.)no[-_]([^.]+)$", r"\1\2", key)
        if positive != key and not words and kind_of(recipe, positive)[0] is bool:
            key, words = positive, ["false"]
        kind, value = kind_of(recipe, key)
        try:
            values[key] = parsed(words or ["true"] * (kind is bool), kind)
        except (ValueError, KeyError, OverflowError):
            told = " ".join([f"--{key}", *words])[:80] + (" is not" if words else " lacks its value,")
            raise Refusal(f"{told} of type {_name(kind)}; write {_form(key, kind, value)}") from None
    return values


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")


def _form(key: str, kind: Any, value: Any) -> str:
    """How a value of this type is written, with the present value as an example."""
    if kind not in PARSERS and get_origin(kind) not in (tuple, Literal, Union, types.UnionType):
        return f"--{key}.KEY VALUE; --help lists the keys"
    if isinstance(value, tuple) and not any(isinstance(item, int | float | str) for item in value):
        return f"--{key}.0.KEY VALUE; --help lists the keys"
    if kind is bool:
        return f"--{key} true or --{key} false"
    return f"--{key} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
