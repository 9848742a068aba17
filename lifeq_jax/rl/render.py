"""Films of agents: the observations of a game as an animated GIF."""

import colorsys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from lifeq_jax.core.refusal import Refusal

WIDTH = 240  # least width of a film in pixels


def colored(image: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 of an observation (H, W, C) whose channels are kinds of objects: a color for each
    channel, the last one on top, black where there is no object."""
    picture = np.zeros((*image.shape[:2], 3), np.uint8)
    for channel in range(image.shape[2]):
        color = colorsys.hsv_to_rgb(channel / image.shape[2], 0.75, 1.0)
        picture[image[..., channel] > 0] = np.round(255 * np.array(color))
    return picture


def newest(image: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 of an observation (H, W, C) whose channels are gray frames: the last frame."""
    return np.repeat(image[..., -1:], 3, axis=2)


LOOKS = {
    "atari": (newest, 15),
    "catch": (newest, 8),
    "minatar": (colored, 10),
}  # of each family: picture, frames a second


def write_film(observations: Iterable[np.ndarray], game: str, path: Path) -> int:
    """Writes observations of game `family/name` as a looping GIF, enlarged without smoothing to at least 240 pixels;
    returns the number of its frames.

    Raises:
        Refusal: the file cannot be written, or there are no observations."""
    picture, rate = LOOKS[game.partition("/")[0]]
    pictures = [Image.fromarray(picture(image)) for image in observations]
    if not pictures:
        raise Refusal(f"{path}: no step was played")
    scale = -(-WIDTH // pictures[0].width)
    size = (scale * pictures[0].width, scale * pictures[0].height)
    first, *others = (one.resize(size, Image.Resampling.NEAREST) for one in pictures)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        first.save(path, "GIF", save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror or error}") from None
    return len(pictures)
