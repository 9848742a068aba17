"""Files that are either whole or not there."""

import os
from pathlib import Path

from lifeq_jax.core.refusal import Refusal


def write_whole(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 through a temporary file beside `path`, so that a reader sees the old file or
    the new one.

    Makes missing folders. Refuses a place that cannot be written."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}") from None
    except UnicodeEncodeError as error:
        raise Refusal(f"{path} cannot be written: {error.object[:80]!a} is not UTF-8 text") from None
