"""Text files, read and written whole. Every error is a Refusal that names the file."""

import json
import os
from pathlib import Path
from typing import Any

from lifeq_jax.core.refusal import Refusal


def write_whole(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 through a temporary file beside `path`, so that a reader sees the old file or the new one.

    Makes missing folders.

    Raises:
        Refusal: the place cannot be written, or the text is not Unicode."""
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


def read_text(path: Path, otherwise: str) -> str:
    """The UTF-8 text of a file.

    Raises:
        Refusal: there is no such file (the line ends in `otherwise`), it cannot be read, or it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise Refusal(f"{path} does not exist; {otherwise}") from None
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}, byte {error.start}: not UTF-8 text") from None


def read_json(path: Path, otherwise: str) -> Any:
    """The content of a JSON file. Refuses what `read_text` refuses, and text that is not JSON, naming the line."""
    text = read_text(path, otherwise)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Refusal(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # also a number with too many digits, or nesting too deep
        raise Refusal(f"{path} is not JSON: {error}") from None
