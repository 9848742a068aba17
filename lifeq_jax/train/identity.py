"""What a run reads is part of what it is: CSV rows, images and start weights are those that it began with."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.own import own_files
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import digest_of_arrays
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.identity import changed_file
from lifeq_jax.runs.data import read_data, write_data
from lifeq_jax.train.checkpoint import has_checkpoint
from lifeq_jax.train.mesh import is_writer
from lifeq_jax.train.world import Source, read_identity

START, CODE = "start", "code"


def keep_identity(folder: Path, recipe: Recipe, source: Source, start: PyTree) -> None:
    """Notes in the run folder what the run reads, or, where the run has a checkpoint, compares.

    Raises:
        Refusal: names a file that is not what the run began with."""
    code = {f"{CODE}/{name}": path for name, path in own_files(recipe).items()}
    now = source.digest | ({START: digest_of_arrays(start)} if recipe.start else {})
    now |= {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in code.items()}
    if not _has_begun(folder, recipe):
        if is_writer():
            write_data(folder, now)
            for name, path in code.items():  # so that a run can be read again wherever it lies
                write_whole(folder / name, path.read_text(encoding="utf-8"))
        return
    if changed := _changed(folder, recipe, now, source.images.paths):
        raise Refusal(
            f"run folder {folder} began with other data: {changed} has changed since; put it back, or choose another "
            "--run folder"
        )


def changed_since(folder: Path, recipe: Recipe, root: Path) -> str | None:
    """What of the data of a run is not as it was when the run began, in one line; None where all of it is."""
    try:
        before = {
            name: digest for name, digest in read_data(folder).items() if name != START and not name.startswith(CODE)
        }
        images, now = read_identity(recipe, root)
    except Refusal as refusal:
        return f"whether the run's data has changed cannot be told: {refusal}"
    name = changed_file(before, now, images.paths)
    return None if name is None else f"the data has changed since the run began: {name}"


def _has_begun(folder: Path, recipe: Recipe) -> bool:
    return any(has_checkpoint(folder / "checkpoints" / stage.name) for stage in recipe.stages)


def _changed(folder: Path, recipe: Recipe, now: dict[str, str], paths: Sequence[str]) -> str | None:
    before = read_data(folder)
    if before.get(START) != now.get(START):
        return f"start={recipe.start!r}"
    for name, path in own_files(recipe).items():
        if before.pop(f"{CODE}/{name}", None) != now.pop(f"{CODE}/{name}", None):
            return str(path)
    return changed_file(before, now, paths)
