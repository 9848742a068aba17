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
ALL_MODES = (*MODES, "CMYK")
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class BrokenImage(Refusal):
    """A refused image; `image` is its path as the CSV files have it."""

    def __init__(self, message: str, image: str):
        super().__init__(message)
        self.image = image


def open_image(path: Path, modes: Sequence[str] = MODES) -> Image.Image:
    """The decoded image as 8-bit "L" (gray) or "RGB"; an alpha channel is dropped, a palette is resolved, and
    the inks of CMYK, which only ALL_MODES allow, are multiplied.

    Refuses, naming the file, what is no whole image or has pixels of another kind than `modes`."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
    except BROKEN as error:
        raise Refusal(f"{path} is not a readable image ({first_line(error)})") from None
    if image.mode not in modes:
        raise Refusal(f"{path} has pixels of kind {image.mode}; choose from {', '.join(modes)}")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def read_image(path: Path, spec: ImageSpec) -> np.ndarray:
    """One file as uint8 (h, w, c) of `spec.stored`, or of its own size with `spec.resize`.

    Gray and color are converted silently. Refuses other sizes and CMYK, but not with `spec.resize`: TensorFlow
    multiplies inks to other bits than Pillow, and the files of one size are to give the same bits on both
    input paths."""
    image = open_image(path, ALL_MODES if spec.resize else MODES)
    height, width, channels = spec.stored
    if not spec.resize and image.size != (width, height):
        raise Refusal(f"{path} is {image.size[1]}x{image.size[0]} pixels, not {height}x{width}")
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(image.height, image.width, channels)


def decode(root: Path, paths: Sequence[str], spec: ImageSpec) -> np.ndarray:
    """All files of one size under `root` as one uint8 array (n, h, w, c); refuses what `read_under` refuses."""
    images = np.empty((len(paths), *spec.stored), np.uint8)
    for place, path in enumerate(tqdm(paths, "decoding", disable=None, leave=False)):
        images[place] = read_under(root, path, spec)
    return images


def read_under(root: Path, path: str, spec: ImageSpec) -> np.ndarray:
    """`read_image` of one file under `root`; refuses the same as BrokenImage."""
    try:
        return read_image(Path(root) / path, spec)
    except Refusal as refusal:
        raise BrokenImage(str(refusal), path) from None


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
