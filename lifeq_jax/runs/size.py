"""How large a trained network is, as summary.json says, read and checked."""

import math
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from lifeq_jax.core.refusal import Refusal


class LayerSize(NamedTuple):
    """A layer that can quantize. Bits are None for what it does not have."""

    weight_bits: int | None
    act_bits: int | None
    weights: int


class Size(NamedTuple):
    """The network at the end of the last stage."""

    parameters: int
    bytes: int  # weights at the bits of their layers, all else as float32
    layers: dict[str, LayerSize]  # by path, in the order of calls
    peak_megabytes: float  # most memory of the process that trained it, or of its first accelerator, 10^6 bytes


def read_size(path: Path, summary: dict[str, Any]) -> Size:
    """What the summary in `path` says of the network and of memory. Refuses anything else than numbers from 0."""
    content, peak = summary.get("network"), summary.get("peak_megabytes")
    if not isinstance(content, dict):
        raise Refusal(f"{path}: network={reprlib.repr(content)} is missing or not an object")
    if isinstance(peak, bool) or not isinstance(peak, int | float) or not 0 <= peak < math.inf:
        raise Refusal(f"{path}: peak_megabytes={reprlib.repr(peak)} is missing or not a number from 0")
    for key in ("parameters", "bytes"):
        if not _is_count(content.get(key)):
            raise Refusal(f"{path}: network.{key}={reprlib.repr(content.get(key))} is not a whole number")
    layers = content.get("layers")
    if not isinstance(layers, dict):
        raise Refusal(f"{path}: network.layers={reprlib.repr(layers)} is not an object")
    for name, row in layers.items():
        if not (isinstance(row, list) and len(row) == 3 and all(item is None or _is_count(item) for item in row)):
            raise Refusal(f"{path}: network.layers.{name}={reprlib.repr(row)} is not [bits, bits, number of weights]")
    found = {name: LayerSize(*row) for name, row in layers.items()}
    return Size(content["parameters"], content["bytes"], found, peak)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
