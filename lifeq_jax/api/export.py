"""A trained run as integers, in files that are each compared with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lifeq_jax.api.opened import images_of, open_run
from lifeq_jax.api.runs import folder_of
from lifeq_jax.api.shown import MarkdownTable
from lifeq_jax.export.check import Agreement, Flips
from lifeq_jax.export.export import choose_formats, export_network
from lifeq_jax.runs.read import Run


class Export(NamedTuple):
    """An export folder, and how its files compare with the trained network."""

    folder: Path
    report: MarkdownTable  # export.md: layers, thresholds, agreement
    flips: Flips | None  # codes of activations that differ; None: no images
    agreement: dict[str, Agreement]  # by file, and how it is run; "trained" is the network itself
    notes: tuple[str, ...]  # what a reader has to know, a line each

    def _repr_markdown_(self) -> str:
        return self.report

    def __repr__(self) -> str:
        return self.report


def export(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    stage: str | None = None,
    after_task: int | None = None,
    formats: Sequence[str] | None = None,
    check: str | Path | None = None,
    task: int | None = None,
) -> Export:
    """Writes a stage's network as integers and compares every file with it, as `lifeq-jax export`.

    Args:
        run: a run folder, or one of `Runs.finished`.
        out: folder of the files; None: RUN/export/STAGE, or RUN/export/STAGE_taskN with `after_task`.
        stage: name of the stage; None: the last.
        after_task: the network of the end of this task, from 0, where the recipe keeps these (`keep="task"`); None: of
            the end of the stage.
        formats: of packed, onnx, int8 and c; packed always is written. None: all that this installation can write.
        check: CSV of the images to compare on; None: the run's test images.
        task: compare on the images of this task alone; needed with `check` where tasks differ.

    Raises:
        Refusal: there is no such run or stage, or its network has no form in integers; names what has none.

    Example:
        >>> found = lq.export(folder, folder / "integers", formats=["c"])
        >>> sorted(path.name for path in found.folder.iterdir())
        ['export.md', 'manifest.json', 'model.c', 'weights.safetensors']
        >>> found.flips.flipped
        0
    """
    folder = folder_of(run)
    choose_formats(formats)  # refuses before anything is read
    opened = open_run(folder, stage, after_task)
    name = opened.stage if after_task is None else f"{opened.stage}_task{after_task}"
    where = Path(out) if out is not None else folder / "export" / name
    images = images_of(opened, None if check is None else Path(check), task)
    result = export_network(opened.trained, opened.about, where, formats, images)
    notes = (*opened.notes, *result.notes)
    return Export(where, MarkdownTable(result.report), result.flips, result.agreement, notes)
