"""Writes `<root>/<split>/<class>/<file>` from a source, or checks a tree that is there."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image, ImageOps
from tqdm import tqdm

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.sources import Picture, Source, digits, folder, tfds_set

RECORD = "prepared.json"
JPEG_QUALITY = 95


class Prepared(NamedTuple):
    """What lies under a root."""

    root: Path
    images: dict[str, int]  # of each split
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # (height, width), every one that occurs
    already: bool  # whether the tree was complete before, and nothing was written

    def __str__(self) -> str:
        images = ", ".join(f"{number} {split}" for split, number in self.images.items())
        pixels = " to ".join(f"{height}x{width}" for height, width in sorted({self.sizes[0], self.sizes[-1]}))
        done = " (already there; nothing written)" if self.already else ""
        return f"{self.root}: {images} images, {len(self.classes)} classes, {pixels} pixels{done}"


def prepare(
    root: Path,
    source: str,
    *,
    download: bool,
    seed: int,
    size: int | None = None,
    canvas: int | None = None,
    test_fraction: float = 0.2,
    source_folder: Path | None = None,
    data_dir: Path | None = None,
) -> Prepared:
    """Makes the image tree `root` from `source`, or finds it complete and does nothing.

    "digits": scikit-learn's scans, `test_fraction` of each class to the test split by `seed`. "folder": opens
    every image under `root` and writes nothing; with `source_folder` and `size` or `canvas`, writes a copy of that
    tree. Any other name: a tfds set, looked for in `data_dir` (default: where tfds keeps its sets) and fetched only
    with `download`; the JPEG files of imagenet2012 stay as they are without `size` and `canvas`.

    `size` makes every image size x size (short side resized, centered crop); `canvas` then puts it in the middle of
    canvas x canvas black pixels.

    The tree is built beside `root` and renamed when whole, with `prepared.json` inside. Refuses a root that
    holds something else, a broken image and one larger than the canvas (named), a place that cannot be written,
    and what the source refuses."""
    root = Path(root)
    as_it_is = size is None and canvas is None
    if source == "folder" and source_folder is None and as_it_is:
        return _summary(root, folder(root).images(), already=True)
    if source == "folder" and (source_folder is None or as_it_is):
        raise Refusal("source folder: a copy needs both source_folder and one of size and canvas")
    recipe = _recipe(source, size, canvas, seed, test_fraction, source_folder)
    done = _found(root, recipe)
    if done is not None:
        return done
    chosen = _source(source, test_fraction, seed, source_folder, download, data_dir)
    return _build(root, recipe, chosen, size, canvas)


def fit(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size`, bilinear with antialiasing, and the centered size x size square of it."""
    if size < 1:
        raise Refusal(f"size={size} is out of range; choose 1 or more")
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def pad(image: Image.Image, canvas: int) -> Image.Image:
    """The image, gray or color, in the middle of a black canvas x canvas square; where the rest is odd, the smaller
    half comes before it. Refuses an image that is larger."""
    if max(image.size) > canvas:
        raise Refusal(f"{image.height}x{image.width} pixels do not fit canvas={canvas}")
    square = Image.new("L" if image.mode == "L" else "RGB", (canvas, canvas))
    square.paste(image, ((canvas - image.width) // 2, (canvas - image.height) // 2))
    return square


def _recipe(
    source: str, size: int | None, canvas: int | None, seed: int, test_fraction: float, source_folder: Path | None
) -> dict:
    """The arguments that decide what the tree holds."""
    own = {"seed": seed, "test_fraction": test_fraction} if source == "digits" else {}
    origin = {} if source_folder is None else {"source_folder": str(Path(source_folder).resolve())}
    around = {} if canvas is None else {"canvas": canvas}
    return {"source": source, "size": size, **around, **own, **origin}


def _source(
    source: str,
    test_fraction: float,
    seed: int,
    source_folder: Path | None,
    download: bool,
    data_dir: Path | None,
) -> Source:
    if source == "digits":
        return digits(test_fraction, seed)
    if source_folder is not None:
        return folder(source_folder)
    return tfds_set(source, download=download, data_dir=data_dir)


def _found(root: Path, recipe: dict) -> Prepared | None:
    """The summary of a tree that this recipe made before; None where there is nothing yet."""
    if not root.exists() or (root.is_dir() and not os.listdir(root)):
        return None
    try:
        record = json.loads((root / RECORD).read_text())
        summary = Prepared(root, record["images"], tuple(record["classes"]), _pairs(record["sizes"]), True)
        made_by = record["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Refusal(f"{root} is there without a readable {RECORD}; choose another root, or source folder") from None
    if made_by != recipe:
        odd = next(key for key in sorted({*made_by, *recipe}) if made_by.get(key) != recipe.get(key))
        raise Refusal(f"{root} was made with {odd}={made_by.get(odd)!r}, not {recipe.get(odd)!r}; choose another root")
    for split, number in summary.images.items():
        present = sum(len(files) for _, _, files in os.walk(root / split))
        if present != number:
            raise Refusal(f"{root / split} holds {present} files where {number} were written; remove {root}")
    return summary


def _pairs(sizes: Iterable) -> tuple[tuple[int, int], ...]:
    return tuple((int(height), int(width)) for height, width in sizes)


def _build(root: Path, recipe: dict, source: Source, size: int | None, canvas: int | None) -> Prepared:
    part = root.with_name(f".{root.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        images = tqdm(source.images(), "writing images", source.total, disable=None)
        summary = _summary(root, _written(part, images, size, canvas), already=False)
        counts = {"images": summary.images, "classes": summary.classes, "sizes": summary.sizes}
        record = {"recipe": recipe, **counts}
        (part / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        os.replace(part, root)
    except OSError as error:
        raise Refusal(f"{root} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def _written(part: Path, images: Iterable[Picture], size: int | None, canvas: int | None) -> Iterator[Picture]:
    for name, image, content in images:
        fitted = _fitted(name, image, size, canvas)
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None and size is None and canvas is None:
            path.write_bytes(content)
        elif path.suffix.lower() == ".png":
            fitted.save(path, format="PNG")
        else:
            fitted.save(path, format="JPEG", quality=JPEG_QUALITY)
        yield Picture(name, fitted)


def _fitted(name: str, image: Image.Image, size: int | None, canvas: int | None) -> Image.Image:
    resized = image if size is None else fit(image, size)
    try:
        return resized if canvas is None else pad(resized, canvas)
    except Refusal as refusal:
        raise Refusal(f"{name}: {refusal}") from None


def _summary(root: Path, images: Iterable[Picture], *, already: bool) -> Prepared:
    """Goes through all images once."""
    number: dict[str, int] = {}
    classes, sizes = set(), set()
    for name, image, _ in images:
        parts = PurePosixPath(name).parts
        number[parts[0]] = number.get(parts[0], 0) + 1
        classes.add(parts[-2])
        sizes.add((image.height, image.width))
    return Prepared(root, number, tuple(sorted(classes)), tuple(sorted(sizes)), already)
