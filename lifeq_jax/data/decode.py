"""Image files to 8-bit pixels: the formats that training reads, and all others that Pillow reads."""

import io
import math
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.tables import BrokenImage

KEPT_BYTES, KEPT_SETS = 2**27, 4  # larger sets, and more of them, would take memory that training needs
PNG_HEAD, JPEG_HEAD = b"\x89PNG", b"\xff\xd8\xff"
STORED = ("PNG", "JPEG")  # formats that training reads
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
TURNED, WIDE, INKS, FRAMES = "turned by their EXIF tag", "of 16 bits", "of inks (CMYK)", "of several frames"
CONVERTS = "`lifeq-jax data prepare --source folder --from TREE --root NEW` makes a copy that training reads"
ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # metadata that may hold an orientation

# Pillow warns about metadata that it cannot read, which has no effect on the pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")


def check_stored(content: bytes, *, inks: bool) -> tuple[Image.Image, tuple[str, ...]]:
    """Checks a file for training; returns the image (a JPEG opened, not decoded) and which of INKS and FRAMES it has.

    Both inputs call it before they decode, so that they refuse the same files: a file that is not a PNG or JPEG, a PNG
    with a wrong checksum, 16 bits, an EXIF orientation and, without `inks`, CMYK. The refusal begins with "is" or
    "has"; the caller adds the file's name."""
    image, kinds = _looked_at(content, STORED, load=content.startswith(PNG_HEAD))
    if TURNED in kinds:
        raise Refusal(f"is to be turned by its EXIF tag, which training does not look at; {CONVERTS}")
    if WIDE in kinds:
        raise Refusal(f"has 16 bits a channel, of which training reads 8; {CONVERTS}")
    if image.mode not in MODES and not (inks and image.mode == "CMYK"):
        raise Refusal(f"has pixels of kind {image.mode}; choose from {', '.join(MODES)}; {CONVERTS}")
    return image, kinds


def stored_image(content: bytes, *, inks: bool = False) -> tuple[Image.Image, tuple[str, ...]]:
    """The decoded image of a file that `check_stored` accepts, as "L" (gray) or "RGB", and the same kinds.

    An alpha channel is dropped, a palette resolved, CMYK inks are multiplied, and the first of several frames is
    taken."""
    image, kinds = check_stored(content, inks=inks)
    return eight_bits(image), kinds


def any_image(content: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in any file that Pillow reads, as "L" or "RGB", and which of TURNED, WIDE, INKS and FRAMES it has.

    The image is turned upright, 16 bits are divided by 256, and the first of several frames is taken. Refuses, with a
    text that begins with "is" or "has", what Pillow cannot read, and pixels without a known range (32 bits)."""
    image, kinds = _looked_at(content, None, load=True)
    with _telling():
        upright = ImageOps.exif_transpose(image) if _is_turned(image) else image  # load() has turned a TIFF already
    return eight_bits(upright), kinds


def eight_bits(image: Image.Image) -> Image.Image:
    """An opened image as "L" (gray) or "RGB": 16 bits are divided by 256, inks multiplied, a palette resolved and an
    alpha channel dropped. Refuses damaged files and 32 bits, as `any_image` does."""
    with _telling():
        image.load()
        if image.mode in ("L", "RGB"):
            return image
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
        if image.mode not in ("I", "F"):
            return image.convert("L" if image.mode in ("1", "LA") else "RGB")
    raise Refusal(f"has pixels of 32 bits ({image.mode}), whose range is not known; make 8 or 16 bits of them")


def read_image(path: Path, spec: ImageSpec) -> np.ndarray:
    """One file as uint8 (h, w, c) of `spec.stored`, or of its own size with `spec.resize`.

    Gray and color are converted silently. Refuses, naming the file, what `check_stored` refuses and, without
    `spec.resize`, other sizes and CMYK (whose inks TensorFlow and Pillow multiply to different bits, while files of one
    size must give the same bits on both input paths)."""
    try:
        image, _ = stored_image(read_bytes(path), inks=bool(spec.resize))
    except Refusal as refusal:
        raise Refusal(f"{path} {refusal}") from None
    height, width, channels = spec.stored
    if not spec.resize and image.size != (width, height):
        raise Refusal(
            f"{path} is {image.height}x{image.width} pixels, not {height}x{width}; `lifeq-jax data prepare --source "
            "folder --from TREE --root NEW --size N` makes a copy of one size"
        )
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(image.height, image.width, channels)


def read_bytes(path: Path) -> bytes:
    """The content of a file; refuses, as `check_stored` does, one that cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refusal(f"is not a readable image ({error.strerror})") from None


def decode(root: Path, paths: Sequence[str], spec: ImageSpec) -> np.ndarray:
    """All files of one size under `root` as one uint8 array (n, h, w, c), which must not be written to; refuses what
    `read_under` refuses.

    The newest KEPT_SETS sets of at most KEPT_BYTES each are kept: runs of one process on the same files, as a sweep's,
    decode them once. A file is the same if its path, inode, size and times of change are."""
    paths = tuple(paths)
    if len(paths) * math.prod(spec.stored) > KEPT_BYTES:
        return _decode(root, paths, spec)
    return _kept(root, paths, spec, tuple(_version(root, path) for path in paths))


def _decode(root: Path, paths: tuple[str, ...], spec: ImageSpec) -> np.ndarray:
    images = np.empty((len(paths), *spec.stored), np.uint8)
    for place, path in enumerate(tqdm(paths, "decoding", disable=None, leave=False)):
        images[place] = read_under(root, path, spec)
    images.flags.writeable = False
    return images


@lru_cache(maxsize=KEPT_SETS)
def _kept(root: Path, paths: tuple[str, ...], spec: ImageSpec, versions: tuple[object, ...]) -> np.ndarray:
    return _decode(root, paths, spec)


def _version(root: Path, path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(os.path.join(root, path))
    except OSError:
        return None  # which `read_under` refuses
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_under(root: Path, path: str, spec: ImageSpec) -> np.ndarray:
    """`read_image` of one file under `root`; refuses the same as BrokenImage."""
    try:
        return read_image(Path(root) / path, spec)
    except Refusal as refusal:
        raise BrokenImage(str(refusal), path, Path(root)) from None


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message, for a refusal of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _telling() -> Iterator[None]:
    """Turns every exception into a refusal: damaged files make Pillow raise many kinds."""
    try:
        yield
    except UnidentifiedImageError:
        raise Refusal("is not a readable image of a known format") from None
    except Exception as error:
        raise Refusal(f"is not a readable image ({first_line(error)})") from None


def _looked_at(content: bytes, formats: tuple[str, ...] | None, *, load: bool) -> tuple[Image.Image, tuple[str, ...]]:
    """The opened image and its unusual properties, after a check of a PNG's checksums."""
    if formats is not None and not content.startswith((PNG_HEAD, JPEG_HEAD)):
        raise Refusal(f"is not a readable image of {' or '.join(formats)}; {CONVERTS}")
    with _telling():
        image = Image.open(io.BytesIO(content), formats=formats)
        kinds = _kinds(image)
        if image.format == "PNG":
            _check_chunks(content)
        if load:
            image.load()  # a PNG may have metadata after its pixels
            kinds = tuple(dict.fromkeys((*kinds, *_kinds(image))))
    return image, kinds


def _check_chunks(content: bytes) -> None:
    """Raises ValueError or zlib.error unless all chunks of a PNG have the right checksum and the pixels are complete:
    TensorFlow checks all of this, Pillow only some."""
    start, kind, pixels = 8, b"", []
    while kind != b"IEND":
        kind = content[start + 4 : start + 8]
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        if len(content) < end + 4 or zlib.crc32(content[start + 4 : end]) != int.from_bytes(
            content[end : end + 4], "big"
        ):
            raise ValueError(f"wrong checksum at byte {start}")
        if kind == b"IDAT":
            pixels.append(content[start + 8 : end])
        start = end + 4
    zlib.decompress(b"".join(pixels))


def _kinds(image: Image.Image) -> tuple[str, ...]:
    """Unusual properties of an image, as far as the part of the file read so far tells."""
    wide = image.mode.startswith("I") or any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
    inks = image.mode == "CMYK"
    frames = getattr(image, "n_frames", 1) > 1
    held = {TURNED: _is_turned(image), WIDE: wide, INKS: inks, FRAMES: frames}
    return tuple(kind for kind, holds in held.items() if holds)


def _is_turned(image: Image.Image) -> bool:
    if image.format != "TIFF" and not ORIENTED & image.info.keys():
        return False
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:  # unreadable metadata has no effect on the pixels
        return False
