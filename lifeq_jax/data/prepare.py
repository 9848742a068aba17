"""Writes `<root>/<split>/<class>/<file>` from a source, or checks an existing tree."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image, ImageOps
from tqdm import tqdm

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import eight_bits
from lifeq_jax.data.sources import ImageSource, Picture, digits, folder, folder_to_copy, split_off, tfds_set
from lifeq_jax.data.walk import RECORD, counts_text, told_left_out

DIGITS_SHARE = 0.2  # of each class, for testing
JPEG_QUALITY = 95
SAID = ("converted", "left_out")  # fields of Prepared that its record holds if they are not empty


class Prepared(NamedTuple):
    """Summary of the image tree under a root."""

    root: Path
    images: dict[str, int]  # of each split
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # (height, width), all that occur
    already: bool  # True: nothing was written; a checked folder, or a tree that was complete before
    converted: Counter[str] = Counter()  # kinds of decode.py and endings of other formats among the images written
    noticed: Counter[str] = Counter()  # kinds of decode.py among images that were only checked
    left_out: Counter[str] = Counter()  # files that are no images, as of walk.Walked

    def __str__(self) -> str:
        images = ", ".join(f"{number} {split}" for split, number in self.images.items())
        sizes = ", ".join(f"{height}x{width}" for height, width in self.sizes[:3])
        more = ", ..." if len(self.sizes) > 3 else ""
        state = "complete already" if self.already else "ready"
        lines = [f"{self.root}: {images} images of {len(self.classes)} classes, {sizes}{more}; {state}"]
        said = {"converted": self.converted, "read as they are": self.noticed}
        lines += [f"{word}: {counts_text(numbers)}" for word, numbers in said.items() if numbers]
        return "\n".join(filter(None, [*lines, told_left_out(self.left_out)]))


def prepare(
    root: Path,
    source: str,
    *,
    download: bool = False,
    seed: int = 0,
    size: int | None = None,
    canvas: int | None = None,
    test_fraction: float | None = None,
    source_folder: Path | None = None,
    data_dir: Path | None = None,
) -> Prepared:
    """Makes the image tree `root` from `source`; does nothing if it is complete already.

    "digits": scikit-learn's scans, `test_fraction` (default 0.2) of each class to the test split by `seed`. "folder":
    opens every image under `root` and writes nothing; with `source_folder`, writes a copy of that tree, in which other
    formats, 16 bits, inks and turned images become plain PNG or JPEG files. Any other name: a tfds set, looked for in
    `data_dir` (default: that of tfds) and fetched only with `download`; the JPEG files of imagenet2012 are copied
    unchanged without `size` and `canvas`.

    `size` makes every image size x size (short side resized, center crop); `canvas` then puts it in the middle of
    canvas x canvas black pixels. `test_fraction` splits a source without a test split, by `split_off` with `seed`.

    The tree is built in a temporary folder and renamed to `root` when complete, with `prepared.json` inside. Refuses a
    root that holds something else, a broken image and one larger than the canvas (named), a place that cannot be
    written, and what the source refuses."""
    root = Path(root)
    if source_folder is not None and source != "folder":
        raise Refusal(f"source {source!r} takes no other folder; choose source folder to copy {source_folder}")
    if source == "folder" and source_folder is None:
        if (size, canvas, test_fraction) != (None, None, None):
            raise Refusal(f"{root} is only checked: to change its images give it as --from, and another --root")
        checked = folder(root)
        return _summary(root, checked.images(), already=True)._replace(left_out=checked.left_out)
    recipe = _recipe(source, size, canvas, seed, test_fraction, source_folder)
    done = _found(root, recipe)
    if done is not None:
        return done
    chosen = _source(source, test_fraction, seed, source_folder, download, data_dir)
    return _build(root, recipe, chosen, size, canvas)


def resized_square(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size`, bilinear with antialiasing, and the centered size x size square of it."""
    if size < 1:
        raise Refusal(f"size={size} is out of range; choose 1 or more")
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def pad(image: Image.Image, canvas: int) -> Image.Image:
    """The image, gray or color, in the middle of a black canvas x canvas square; an odd margin has its smaller half
    first. Refuses an image that is larger."""
    if max(image.size) > canvas:
        raise Refusal(f"{image.height}x{image.width} pixels do not fit canvas={canvas}")
    square = Image.new("L" if image.mode == "L" else "RGB", (canvas, canvas))
    square.paste(image, ((canvas - image.width) // 2, (canvas - image.height) // 2))
    return square


def _recipe(
    source: str,
    size: int | None,
    canvas: int | None,
    seed: int,
    test_fraction: float | None,
    source_folder: Path | None,
) -> dict:
    """The arguments that decide what the tree holds."""
    share = DIGITS_SHARE if source == "digits" and test_fraction is None else test_fraction
    own = {} if share is None else {"seed": seed, "test_fraction": share}
    origin = {} if source_folder is None else {"source_folder": str(Path(source_folder).resolve())}
    around = {} if canvas is None else {"canvas": canvas}
    return {"source": source, "size": size, **around, **own, **origin}


def _source(
    source: str,
    test_fraction: float | None,
    seed: int,
    source_folder: Path | None,
    download: bool,
    data_dir: Path | None,
) -> ImageSource:
    if source == "digits":
        return digits(DIGITS_SHARE if test_fraction is None else test_fraction, seed)
    if source_folder is not None:
        chosen = folder_to_copy(source_folder, splits=test_fraction is None)
    else:
        chosen = tfds_set(source, download=download, data_dir=data_dir)
    return chosen if test_fraction is None else split_off(chosen, test_fraction, seed)


def _found(root: Path, recipe: dict) -> Prepared | None:
    """The summary of a tree that this recipe made before; None if there is no tree yet."""
    if not root.exists() or (root.is_dir() and not os.listdir(root)):
        return None
    try:
        record = json.loads((root / RECORD).read_text())
        said = {key: Counter(record.get(key, {})) for key in SAID}
        summary = Prepared(root, record["images"], tuple(record["classes"]), _pairs(record["sizes"]), True, **said)
        made_by = record["recipe"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
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


def _build(root: Path, recipe: dict, source: ImageSource, size: int | None, canvas: int | None) -> Prepared:
    part = root.with_name(f".{root.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        images = tqdm(source.images(), "writing images", source.total, disable=None)
        summary = _summary(root, _written(part, images, size, canvas), already=False)._replace(left_out=source.left_out)
        counts = {"images": summary.images, "classes": summary.classes, "sizes": summary.sizes}
        said = {key: getattr(summary, key) for key in SAID if getattr(summary, key)}
        record = {"recipe": recipe, **counts, **said}
        (part / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        os.replace(part, root)
    except OSError as error:
        raise Refusal(f"{root} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def _written(part: Path, images: Iterable[Picture], size: int | None, canvas: int | None) -> Iterator[Picture]:
    as_it_is = size is None and canvas is None
    for picture in images:
        path = part / picture.name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture.image
        if as_it_is and picture.content is not None:
            path.write_bytes(picture.content)
        else:
            image = _fitted(picture.name, image, size, canvas)
            as_png = path.suffix.lower() == ".png"
            image.save(path, **({"format": "PNG"} if as_png else {"format": "JPEG", "quality": JPEG_QUALITY}))
        yield picture._replace(image=image)


def _fitted(name: str, image: Image.Image, size: int | None, canvas: int | None) -> Image.Image:
    try:
        image = eight_bits(image)
    except Refusal as refusal:
        raise Refusal(f"{name} {refusal}") from None
    resized = image if size is None else resized_square(image, size)
    try:
        return resized if canvas is None else pad(resized, canvas)
    except Refusal as refusal:
        raise Refusal(f"{name}: {refusal}") from None


def _summary(root: Path, images: Iterable[Picture], *, already: bool) -> Prepared:
    """Goes through all images once."""
    number: dict[str, int] = {}
    classes, sizes = set(), set()
    kinds: Counter[str] = Counter()
    for name, image, _, odd in images:
        kinds.update(odd)
        parts = PurePosixPath(name).parts
        number[parts[0]] = number.get(parts[0], 0) + 1
        classes.add(parts[-2])
        sizes.add((image.height, image.width))
    plain = Prepared(root, number, tuple(sorted(classes)), tuple(sorted(sizes)), already)
    return plain._replace(noticed=kinds) if already else plain._replace(converted=kinds)
