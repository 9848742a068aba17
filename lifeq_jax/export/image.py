"""Reads an image file as the input of an exported network. Pillow and NumPy only."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from lifeq_jax.core.refusal import Refusal

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")


class InputSpec(NamedTuple):
    """The input of a network: files of one size, padded and center-cropped, with normalized pixels."""

    size: tuple[int, int, int]  # height, width, channels of the training files; by_short_side: size[0] is that side's
    pad: int  # black pixels on each side
    crop: tuple[int, int]  # height, width that the network sees
    mean: tuple[float, ...]  # per channel, of pixels in 0..1; or per task and channel, task after task
    std: tuple[float, ...]
    by_short_side: bool = False  # files of any size were resized to a short side, not to one size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pixels that the network reads."""
        return (*self.crop, self.size[2])

    def numbers(self) -> np.ndarray:
        """What pixels 0..255 become, float32 (T, C, 256), with the operations of the training step."""
        pixels, channels = np.arange(256, dtype=np.float32), self.size[2]
        middle = (255 * np.array(self.mean, np.float64)).astype(np.float32).reshape(-1, channels, 1)
        scale = (1 / (255 * np.array(self.std, np.float64))).astype(np.float32).reshape(-1, channels, 1)
        return (pixels - middle) * scale


def read_pixels(path: Path, spec: InputSpec) -> np.ndarray:
    """An image file, turned as its EXIF tag says, as uint8 (H, W, C) of `spec.shape`.

    A file of the training size keeps its bits; another is resized to cover it and cut in the middle. Alpha channels are
    dropped. Refuses, naming the file, what is no whole image and pixels of more than 8 bits."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[:1] or [type(error).__name__]
        raise Refusal(f"{path} is not a readable image ({reason[0]})") from None
    if image.mode not in MODES:
        raise Refusal(f"{path} has pixels of kind {image.mode}; choose from {', '.join(MODES)}")
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    image = _resized(image.convert("L" if spec.size[2] == 1 else "RGB"), spec)
    pixels = np.asarray(image).reshape(image.height, image.width, spec.size[2])
    return _middle(np.pad(pixels, ((spec.pad, spec.pad), (spec.pad, spec.pad), (0, 0))), spec.crop)


def _resized(image: Image.Image, spec: InputSpec) -> Image.Image:
    height, width, _ = spec.size
    if spec.by_short_side:
        short = min(image.size)
        wide, high = (height * side // short for side in image.size)
        return image.resize((wide, high), Image.Resampling.BILINEAR)
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def _middle(pixels: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    top, left = ((side - wanted) // 2 for side, wanted in zip(pixels.shape[:2], crop, strict=True))
    return pixels[top : top + crop[0], left : left + crop[1]]
