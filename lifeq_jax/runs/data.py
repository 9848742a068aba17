"""data.json of a run folder: digests of all that the run reads, taken when it began."""

import json
from collections.abc import Mapping
from pathlib import Path

from lifeq_jax.core.files import read_json, write_whole
from lifeq_jax.core.refusal import Refusal

DATA = "data.json"


def write_data(folder: Path, digests: Mapping[str, str]) -> None:
    """Writes the digest of everything that the run reads, by file."""
    write_whole(folder / DATA, json.dumps(dict(digests), indent=2) + "\n")


def read_data(folder: Path) -> dict[str, str]:
    """The digests that the run began with.

    Raises:
        Refusal: the file is missing or damaged."""
    path = folder / DATA
    digests = read_json(path, f"what the run in {folder} began with is not known; choose another --run folder")
    if not isinstance(digests, dict) or not all(isinstance(value, str) for value in digests.values()):
        raise Refusal(f"{path} does not hold a digest for each file")
    return digests
