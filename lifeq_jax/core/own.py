"""User-defined networks, quantizers, losses and methods: a Part may name the function that makes one by its location.

`Part("my_models.py:small_net")` is the function `small_net` of a file in the recipe file's folder or the current one;
`Part("package.module:maker")` is a function of an installed package. A name without ":" is a row of a table."""

import dataclasses
import hashlib
import importlib
import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lifeq_jax.core.config import Checked, Part
from lifeq_jax.core.refusal import Refusal

R = TypeVar("R", bound=Checked)


def is_own(name: str) -> bool:
    """Whether a Part's name is the location of a user's function, not a row of a table."""
    return ":" in name


def own_maker(name: str, key: str) -> Callable[..., Any]:
    """The maker that `name` points to; `key` is the recipe's, for the refusal.

    Raises:
        Refusal: there is no such file, module or function, or running the file fails (the message names the line)."""
    place, _, function = name.rpartition(":")
    module = _of_file(place, key) if place.endswith(".py") else _of_package(place, key)
    maker = getattr(module, function, None)
    if not callable(maker):
        there = ", ".join(n for n, item in vars(module).items() if callable(item) and not n.startswith("_")) or "none"
        raise Refusal(f"{key}={name!r}: {place} has no function {function!r}; choose from {there}")
    return maker


_MODULES: dict[tuple[str, str], Any] = {}  # by file and content, so that a maker stays one object while it is unchanged


def _of_file(place: str, key: str) -> Any:
    path = Path(place)
    if not path.is_file():
        raise Refusal(
            f"{key}: {place} does not exist; it is looked for beside the recipe file and in the current folder"
        )
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    known = (str(path.resolve()), content)
    if known not in _MODULES:
        spec = importlib.util.spec_from_file_location(f"lifeq_own_{path.stem}_{content[:8]}", path)
        assert spec is not None and spec.loader is not None  # as for any file that ends in .py
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input, and has a line
            raise Refusal(f"{key}: {place}{told(error, path)}") from error
        _MODULES[known] = module
    return _MODULES[known]


def told(error: BaseException, path: Path) -> str:
    """The line and the text of an error in a user's file, to stand behind the name of the file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).absolute() == path.absolute()]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    where = "" if line is None else f", line {line}"
    return f"{where}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _of_package(place: str, key: str) -> Any:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise Refusal(f"{key}: {place} cannot be imported: {error}") from None


def _parts(recipe: Checked) -> dict[str, Part]:
    values = {item.name: getattr(recipe, item.name) for item in dataclasses.fields(recipe)}
    return {name: part for name, part in values.items() if isinstance(part, Part) and is_own(part.name)}


def own_files(recipe: Checked) -> dict[str, Path]:
    """The files that a recipe's parts name, by their names without folders.

    Raises:
        Refusal: two of them have one name."""
    files: dict[str, Path] = {}
    for part in _parts(recipe).values():
        path = Path(part.name.rpartition(":")[0])
        if path.suffix == ".py" and files.setdefault(path.name, path) != path:
            raise Refusal(f"{files[path.name]} and {path} have one name; rename one of them")
    return files


def in_folder(recipe: R, folder: Path) -> R:
    """The recipe, with each file that its parts name looked up in `folder` first: that of the recipe file, or a run
    folder, which keeps copies."""
    changed: dict[str, Any] = {}
    for name, part in _parts(recipe).items():
        place, _, function = part.name.rpartition(":")
        found = folder / Path(place).name
        if place.endswith(".py") and found.is_file():
            changed[name] = dataclasses.replace(part, name=f"{found}:{function}")
    return dataclasses.replace(recipe, **changed)
