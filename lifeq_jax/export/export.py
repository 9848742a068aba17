"""Writes a trained network as a folder of files, and compares each file with it."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.export.c99 import write_c
from lifeq_jax.export.check import Agreement, Flips, Images, StageWeights, compare
from lifeq_jax.export.lower import Lowered, Pixels, lower
from lifeq_jax.export.manifest import MANIFEST, About, add_file, add_section, read_exported, write_packed
from lifeq_jax.export.onnx_graph import EXTRA
from lifeq_jax.export.program import Program
from lifeq_jax.export.runtime import C_FILE, INT8_FILE, ONNX_FILE, runtimes
from lifeq_jax.export.table import agreement_table, layer_table, summary, threshold_rows

REPORT = "export.md"


class Result(NamedTuple):
    """The result of an export."""

    lowered: Lowered
    flips: Flips | None  # None: no images were given
    agreement: dict[str, Agreement]
    report: str  # content of export.md
    notes: tuple[str, ...]  # which files could not be written, and why; which ones are other networks


def _exact_onnx(program: Program) -> tuple[bytes, str]:
    from lifeq_jax.export.onnx_exact import Writer

    return Writer(program).write(), ""


def _fast_onnx(program: Program) -> tuple[bytes, str]:
    from lifeq_jax.export.onnx_int8 import FastWriter

    writer = FastWriter(program)
    content = writer.write()
    where = f"the {writer.thresholds:,} thresholds of its {writer.fused} fused layers"
    return content, f"{INT8_FILE}: {f'{writer.misplaced:,}' if writer.misplaced else 'none'} of {where} misplaced"


def _c(program: Program) -> tuple[bytes, str]:
    return write_c(program), ""


FORMATS: dict[str, tuple[str, Callable[[Program], tuple[bytes, str]]]] = {
    "onnx": (ONNX_FILE, _exact_onnx),
    "int8": (INT8_FILE, _fast_onnx),
    "c": (C_FILE, _c),
}
"""File and writer by the name of a format; packed, which all of them come with, is not one. A writer gives the content
and, for a file that is not exact, how far it is from the program."""


def choose_formats(names: Sequence[str] | None) -> tuple[list[str], str]:
    """(formats to write beside packed, what to say). None: all that this installation can write.

    Refuses unknown names, and ONNX where onnx is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401

        missing = ""
    except ImportError as error:
        missing = f"{error.name} is not installed: {EXTRA}"
    if names is None:
        chosen = [name for name in FORMATS if not (missing and name in ("onnx", "int8"))]
        return chosen, f"no ONNX files: {missing}" if missing else ""
    for name in names:
        check_choice(("packed", *FORMATS), name, "--formats")
        if missing and name in ("onnx", "int8"):
            raise Refusal(f"--formats {name}: {missing}")
    return [name for name in FORMATS if name in names], ""


def export_network(
    trained: StageWeights, about: About, folder: Path, formats: Sequence[str] | None, images: Sequence[Images]
) -> Result:
    """Writes `folder`: weights.safetensors, manifest.json, the files of `formats`, export.md.

    formats: as in `choose_formats`; None leaves out formats that cannot hold this network, with a note.

    The folder appears when it is complete, and replaces an earlier export. Refuses a folder that holds something else,
    and networks that have no integer form, before anything is written."""
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"{folder} is there and holds no export; choose another --out")
    chosen, remark = choose_formats(formats)
    notes = [remark] if remark else []
    numbers = about.input.numbers()
    lowered = lower(*trained, Pixels(about.input.shape, numbers))
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        write_packed(part, lowered.program, about, threshold_rows(lowered))
        remarks = []
        for name in chosen:
            file, write = FORMATS[name]
            try:
                content, said = write(lowered.program)
                add_file(part, file, content)
                remarks += [said] if said else []
            except Refusal as refusal:
                if formats is not None:
                    raise
                notes.append(f"not written: {str(refusal).split('; choose')[0]}")
        flips: Flips | None = None
        agreement: dict[str, Agreement] = {}
        if images:
            flips, agreement = compare(trained, lowered, numbers, images, runtimes(read_exported(part)))
            rows = {name: row._asdict() for name, row in agreement.items()}
            add_section(part, "check", {"codes": flips._asdict(), "files": rows})
            notes += _disagreements(agreement)
        sizes = {path.name: path.stat().st_size for path in part.iterdir()}
        report = _report(about, lowered, flips, agreement, sizes, remarks)
        (part / REPORT).write_text(report + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Result(lowered, flips, agreement, report, tuple(notes))


def _disagreements(agreement: dict[str, Agreement]) -> list[str]:
    return [
        f"{name} gives {row.images - row.same_class} of {row.images} images another class than the trained network"
        for name, row in agreement.items()
        if row.same_class < row.images
    ]


def _report(
    about: About,
    lowered: Lowered,
    flips: Flips | None,
    agreement: dict[str, Agreement],
    sizes: dict[str, int],
    remarks: Sequence[str],
) -> str:
    title = f"# {about.run.get('name', 'network')}, stage {about.run.get('stage', '')}"
    parts = [title, layer_table(lowered), summary(lowered, flips).replace("\n", "  \n")]
    parts += [agreement_table(agreement, sizes)] if agreement else []
    parts += [*remarks, *([EXACT] if agreement else [])]
    return "\n\n".join(parts)


EXACT = (
    '"trained" is the fake-quantized network, evaluated operation by operation. Compiled by XLA, which may fuse '
    "operations, the same network can differ by whole codes where a value is on the edge between two. A misplaced "
    "threshold is one between two codes that is not at the accumulator at which the trained network has it."
)
