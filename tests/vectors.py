"""The golden vectors: numbers that the original programs produced, with their inputs.

They lie in one folder, tests/golden/ or the one that `pytest --golden DIR` names, or in its subfolders: NAME.npz,
NAME.json, CSV files and a manifest.json, which says of every file what its scalars and its cases are. Tests read cases,
shapes and arguments from there, so that vectors of other sizes go through the same tests. What another folder does not
hold is skipped."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

DEFAULT = ROOT = Path(__file__).parent / "golden"


def path(name: str) -> Path:
    """The file or folder `name`, wherever it lies in the folder of golden vectors."""
    found = sorted(ROOT.rglob(name))
    if not found and ROOT != DEFAULT:
        pytest.skip(f"{ROOT} does not hold {name}", allow_module_level=True)
    assert found, f"{name} is not in {ROOT}"
    return found[0]


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of NAME.npz by their key."""
    with np.load(path(f"{name}.npz")) as file:
        return dict(file)


@functools.cache
def document(name: str) -> Any:
    """What NAME.json holds."""
    return json.loads(path(f"{name}.json").read_text())


@functools.cache
def _manifests() -> dict[str, Any]:
    documents = [json.loads(file.read_text()) for file in sorted(ROOT.rglob("manifest*.json"))]
    return {name: entry for found in documents for name, entry in found.get("files", found).items()}


def _some(found: Any, what: str) -> Any:
    """`found`, which the committed vectors must not leave empty: a test over no cases would pass unseen."""
    assert found or ROOT != DEFAULT, f"{ROOT} holds no {what}"
    return found


def _entry(name: str) -> dict[str, Any]:
    found = _some(_manifests().get(f"{name}.npz"), f"manifest with {name}.npz")
    return found or {"scalars": {}, "cases": {}}


def names(pattern: str) -> list[str]:
    """The names of the files PATTERN.npz."""
    return _some(sorted(file.stem for file in ROOT.rglob(f"{pattern}.npz")), f"{pattern}.npz")


def keys(name: str, pattern: str) -> list[tuple[Any, ...]]:
    """The groups of `pattern` in each key of NAME.npz that it matches, numbers as int."""
    matches = [re.fullmatch(pattern, key) for key in (arrays(name) if names(name) else ())]
    found = [tuple(int(g) if g and g.isdigit() else g for g in match.groups()) for match in matches if match]
    return _some(found, f"key like {pattern} in {name}.npz")


def cases(name: str) -> dict[str, Any]:
    """The cases of NAME.npz: {case: its arguments}."""
    return _some(_entry(name)["cases"], f"cases of {name}.npz")


def scalars(name: str, prefix: str = "") -> dict[str, Any]:
    """The scalars of NAME.npz whose name begins with `prefix`, without it and without what a scalar is said to mean."""
    found = {key.removeprefix(prefix): v for key, v in _entry(name)["scalars"].items() if key.startswith(prefix)}
    if "scalar_meanings" not in _entry(name):
        return found
    has_meaning = {key for key, v in found.items() if isinstance(v, list) and len(v) == 2 and isinstance(v[1], str)}
    return {key: v[0] if key in has_meaning else v for key, v in found.items()}


def close(found: Any, expected: Any, rtol: float = 1e-5, share: float | None = None) -> None:
    """Equal up to `rtol` of each value, or up to `share` (`rtol`, if None) of the largest."""
    atol = (rtol if share is None else share) * np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def double(tree: Any) -> Any:
    """`tree` with its floating-point leaves in float64: there the order of a sum decides no rounding.

    To be called, and what it returns used, under `jax.enable_x64(True)`."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64) if np.issubdtype(np.asarray(leaf).dtype, np.floating) else leaf, tree
    )
