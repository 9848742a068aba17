"""Ensures that a resumed run reads the same CSV rows, images, start weights and own code as when it began."""

from collections.abc import Sequence
from pathlib import Path

from lifeq_jax.core.config import Recipe
from lifeq_jax.core.files import read_text, write_whole
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.own import in_folder, own_files
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import digest_of_arrays
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.identity import changed_file
from lifeq_jax.runs.data import read_data, write_data
from lifeq_jax.train.build import R, complete
from lifeq_jax.train.checkpoint import begun_stages
from lifeq_jax.train.mesh import is_writer
from lifeq_jax.train.world import RecipeFiles, read_identity

START, CODE = "start", "code"


def keep_identity(folder: Path, recipe: Recipe, source: RecipeFiles, start: PyTree) -> None:
    """Writes a digest of what the run reads to its folder or, if the run has a checkpoint, compares with it.

    Raises:
        Refusal: names a file that is not what the run began with."""
    keep_code(folder, recipe)
    now = source.digest | ({START: digest_of_arrays(start)} if recipe.start else {})
    if not begun_stages(folder, recipe.stages):
        if is_writer():
            write_data(folder, now)
    elif changed := _changed(folder, recipe, now, source.images.paths):
        raise _refusal(folder, changed)


def keep_code(folder: Path, recipe: Recipe | GameRecipe) -> None:
    """Copies the files of makers of one's own that a recipe names to the run folder, so that the run can be read again
    wherever it lies; or, where the run has a checkpoint, compares them. Refuses as `keep_identity`."""
    for name, path in own_files(recipe).items():
        text, kept = read_text(path, "the recipe names it"), folder / CODE / name
        if not begun_stages(folder, recipe.stages):
            if is_writer():
                write_whole(kept, text)
        elif read_text(kept, "it was copied when the run began; start anew in another --run folder") != text:
            raise _refusal(folder, str(path))


def with_own_code(recipe: R, folder: Path) -> R:
    """The recipe of a run folder, complete, its own code that of the folder's copies."""
    return complete(in_folder(recipe, folder / CODE))


def _refusal(folder: Path, changed: str) -> Refusal:
    return Refusal(
        f"run folder {folder} began with other data: {changed} has changed since; put it back, or choose another --run "
        "folder"
    )


def changed_since(folder: Path, recipe: Recipe, root: Path) -> str | None:
    """One line that names data that has changed since the run began; None if nothing has."""
    try:
        before = {name: digest for name, digest in read_data(folder).items() if name != START}
        images, now = read_identity(recipe, root)
    except Refusal as refusal:
        return f"whether the run's data has changed cannot be told: {refusal}"
    name = changed_file(before, now, images.paths)
    return None if name is None else f"the data has changed since the run began: {name}"


def _changed(folder: Path, recipe: Recipe, now: dict[str, str], paths: Sequence[str]) -> str | None:
    before = read_data(folder)
    if before.get(START) != now.get(START):
        return f"start={recipe.start!r}"
    return changed_file(before, now, paths)
