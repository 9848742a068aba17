"""What an export comes to, in Markdown: layers, thresholds, agreement."""

from collections.abc import Mapping
from typing import Any

from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.export.check import TRAINED, Agreement, Flips
from lifeq_jax.export.lower import Lowered
from lifeq_jax.export.manifest import packed_bytes
from lifeq_jax.export.program import Weight
from lifeq_jax.export.quantized import Staged


def threshold_rows(lowered: Lowered) -> list[dict[str, Any]]:
    """A row for every activation quantizer, in the order of their calls."""
    return [
        {
            "layer": staged.layer,
            "bits": staged.bits,
            "codes": [staged.integers.low, staged.integers.high],
            "thresholds": staged.thresholds,
            "misplaced": staged.misplaced,
            "furthest": staged.furthest,
        }
        for staged in lowered.staged
    ]


def layer_table(lowered: Lowered) -> str:
    """Kernels and activation quantizers, in the order in which they are called."""
    rows, source = [], {op.output.name: op for op in lowered.program.ops}
    staged_of: dict[str, list[Staged]] = {}
    for staged in lowered.staged:
        staged_of.setdefault(staged.source, []).append(staged)
    for name, op in source.items():
        cells = ["", "", "", ""]
        if "weight" in op.tensors:
            cells = _weight_cells(lowered.program.weights[op.tensors["weight"]])
        after = staged_of.get(name, [])
        if "weight" in op.tensors or after:
            layer = op.layer if "weight" in op.tensors else after[0].layer
            rows.append([layer, *cells, *_threshold_cells(after)])
    header = ("layer", "bits", "codes", "bytes", "float bytes", "thresholds", "misplaced")
    return markdown_table(header, rows)


def _weight_cells(weight: Weight) -> list[str]:
    low, high = (int(end) + weight.lowest for end in (weight.values.min(), weight.values.max()))
    bits = str(weight.bits) if weight.stored == weight.bits else f"{weight.bits}, stored {weight.stored}"
    return [bits, f"{low}..{high}", f"{packed_bytes(weight):,}", f"{4 * weight.values.size:,}"]


def _threshold_cells(after: list[Staged]) -> list[str]:
    if not after:
        return ["", ""]
    return [f"{sum(item.thresholds for item in after):,}", f"{sum(item.misplaced for item in after):,}"]


def summary(lowered: Lowered, flips: Flips | None) -> str:
    """Sizes, thresholds and codes, a line each."""
    weights = lowered.program.weights.values()
    packed, floats = sum(map(packed_bytes, weights)), sum(4 * weight.values.size for weight in weights)
    checked, wrong = (sum(getattr(item, name) for item in lowered.staged) for name in ("thresholds", "misplaced"))
    lines = [f"packed {packed:,} bytes of {floats:,} ({packed / floats:.3f})"]
    furthest = max((item.furthest for item in lowered.staged), default=0.0)
    off = f"{wrong:,} misplaced, by at most {furthest:.1e} of a step" if wrong else "none misplaced"
    lines.append(f"thresholds {checked:,}, {off}")
    if flips is not None:
        where = f", all of which begin within {flips.edge:.1e} of a step of an edge" if flips.flipped else ""
        lines.append(f"codes {flips.codes:,}: {flips.flipped:,} differ, in {flips.images} images{where}")
    return "\n".join(lines)


def agreement_table(rows: dict[str, Agreement], file_bytes: Mapping[str, int]) -> str:
    """A row for the trained network, and one for every way to run a file, whose name begins it."""
    lines = []
    for name, row in rows.items():
        accuracy = "" if row.accuracy is None else f"{100 * row.accuracy:.2f} %"
        same, within, size = (
            f"{row.same_class} of {row.images}",
            f"{row.logits:.1e}",
            file_bytes.get(name.split(" ")[0], 0),
        )
        lines.append([name, *(["", "", ""] if name == TRAINED else [f"{size:,}", same, within]), accuracy])
    return markdown_table(("file", "bytes", "same class", "logits within", "accuracy"), lines)
