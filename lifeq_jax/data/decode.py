"""Image files to uint8 arrays."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.tables import read_table

FORMATS = ("PNG", "JPEG")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class BrokenImage(Refusal):
    """A refused image; `image` is its path as the CSV files have it."""

    def __init__(self, message: str, image: str):
        super().__init__(message)
        self.image = image


def open_image(path: Path) -> Image.Image:
    """The decoded image as 8-bit "L" (gray) or "RGB"; an alpha channel is dropped, a palette is resolved.

    Refuses, naming the file, what is no whole image or has another kind of pixels (16 bits, CMYK)."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
    except BROKEN as error:
        raise Refusal(f"{path} is not a readable image ({first_line(error)})") from None
    if image.mode not in MODES:
        raise Refusal(f"{path} has pixels of kind {image.mode}; choose from {', '.join(MODES)}")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def read_image(path: Path, spec: ImageSpec) -> np.ndarray:
    """One file as uint8 (h, w, c) of `spec.stored`; gray and color are converted silently, other sizes
    refused."""
    image = open_image(path)
    height, width, channels = spec.stored
    if image.size != (width, height):
        raise Refusal(f"{path} is {image.size[1]}x{image.size[0]} pixels, not {height}x{width}")
    return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(spec.stored)


def decode(root: Path, paths: Sequence[str], spec: ImageSpec) -> np.ndarray:
    """All files under `root` as one uint8 array (n, h, w, c); refuses, as BrokenImage, what `read_image` refuses."""
    images = np.empty((len(paths), *spec.stored), np.uint8)
    for place, path in enumerate(tqdm(paths, "decoding", disable=None, leave=False)):
        try:
            images[place] = read_image(Path(root) / path, spec)
        except Refusal as refusal:
            raise BrokenImage(str(refusal), path) from None
    return images


@contextmanager
def naming_rows(csvs: Iterable[Path]) -> Iterator[None]:
    """Adds, to the refusal of an image inside the block, the first row of `csvs` that lists it; the header is row 1."""
    try:
        yield
    except BrokenImage as error:
        for csv in csvs:
            rows = read_table(csv).path.tolist()
            if error.image in rows:
                raise Refusal(f"{csv}, row {rows.index(error.image) + 2}: {error}") from None
        raise


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a refusal of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
