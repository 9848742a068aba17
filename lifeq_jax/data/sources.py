"""Sources of images to prepare: scikit-learn's digits, a folder, a tfds data set."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import PNG_HEAD, any_image, check_stored, first_line, read_bytes, stored_image
from lifeq_jax.data.sampling import check_test_share, num_of_share, stratified
from lifeq_jax.data.walk import ENDINGS, SPLIT_NAMES, image_tree, readable_endings

TFDS_SPLITS = {"train": "train", "test": "test", "validation": "val"}
DISGUISED = "of another format than their ending"
KEPT = ("imagenet2012",)  # tfds sets whose JPEG files are copied unchanged


class Picture(NamedTuple):
    """One image and its path under the root."""

    name: str  # "<split>/<class>/<file>"
    image: Image.Image
    content: bytes | None = None  # the file itself, if it is copied unchanged; `image` may be undecoded then
    kinds: tuple[str, ...] = ()  # unusual properties: kinds of decode.py, or the ending of another format


class ImageSource(NamedTuple):
    """Images in a fixed order."""

    total: int  # upper bound of their number
    images: Callable[[], Iterator[Picture]]
    left_out: Counter[str] = Counter()  # as of walk.Walked


def digits(test_fraction: float, seed: int) -> ImageSource:
    """The 1,797 scans of scikit-learn, 8x8 gray, 0..16 scaled to 0..255; split by class and seed.

    The file name is the scan's index in the set."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    test = stratified(scans.target, test_fraction, seed)

    def images() -> Iterator[Picture]:
        for index, (scan, label, held) in enumerate(zip(pixels, scans.target, test, strict=True)):
            yield Picture(f"{'test' if held else 'train'}/{label}/{index:04d}.png", Image.fromarray(scan))

    return ImageSource(len(pixels), images)


def folder(root: Path) -> ImageSource:
    """Every image under `root` that training reads, at `<split>/<class>/<file>` or deeper; opened one by one.

    Refuses what `image_tree` refuses, and, when its turn comes, a file that `check_stored` refuses."""
    walked = image_tree(root)

    def images() -> Iterator[Picture]:
        for file in walked.images:
            with _named(Path(root) / file):
                image, kinds = stored_image(read_bytes(Path(root) / file), inks=True)
                yield Picture(file, image, None, kinds)

    return ImageSource(len(walked.images), images, walked.left_out)


def folder_to_copy(root: Path, *, splits: bool) -> ImageSource:
    """Every image under `root` that Pillow reads, as files that training reads; opened one by one.

    A PNG or JPEG that training reads is copied unchanged. All others are decoded by `any_image`, and .png is added to
    their names: x.bmp becomes x.bmp.png. Refuses what `image_tree` with `splits` refuses and, when its turn comes, a
    file that Pillow cannot read."""
    walked = image_tree(root, readable_endings(), splits=splits)
    taken = set(walked.images)

    def images() -> Iterator[Picture]:
        for file in walked.images:
            with _named(Path(root) / file):
                yield _copied(file, read_bytes(Path(root) / file), taken)

    return ImageSource(len(walked.images), images, walked.left_out)


def split_off(source: ImageSource, share: float, seed: int) -> ImageSource:
    """`source` with a test split: the share of each class whose pixels have the smallest hashes with `seed`.

    At least 1 image and never all; equal images are in the same split. The class is the folder of an image. Divides the
    images of `train`, or all images if there are no splits. Refuses a source with a test split, and a class with fewer
    than 2 different images."""
    check_test_share(share)
    classes: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
    for name, image, *_ in source.images():
        parts = PurePosixPath(name).parts
        if parts[0] in SPLIT_NAMES[1:]:
            raise Refusal(f"{name} is in a test split already; a test share is taken where there is none")
        key = f"{seed}:{image.mode}:{image.size}:".encode() + image.tobytes()
        classes[str(PurePosixPath(name).parent)].append((hashlib.blake2b(key, digest_size=16).digest(), name))
    is_split = any(name.startswith("train/") for name in classes)
    test = {name for place, inside in classes.items() for name in _smallest(place, sorted(inside), share)}

    def placed(name: str) -> str:
        inside = name.removeprefix("train/")
        return name if is_split and inside == name else f"{'test' if name in test else 'train'}/{inside}"

    return source._replace(images=lambda: (one._replace(name=placed(one.name)) for one in source.images()))


def _smallest(place: str, inside: list[tuple[bytes, str]], share: float) -> list[str]:
    hashes = [digest for digest, _ in inside]
    borders = [at for at in range(1, len(hashes)) if hashes[at] != hashes[at - 1]]
    if not borders:
        raise Refusal(f"{place} has {len(hashes)} image(s), all equal; a train/test split needs 2 different ones")
    wanted = num_of_share(len(hashes), share)
    return [name for _, name in inside[: min(borders, key=lambda at: abs(at - wanted))]]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Adds the file's name to the refusals of decode.py."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(f"{path} {refusal}") from None


def _copied(file: str, content: bytes, taken: set[str]) -> Picture:
    ending = PurePosixPath(file).suffix.lower()
    foreign = () if ending in ENDINGS else (ending,)
    try:
        image, odd = stored_image(content)
    except Refusal:
        odd = ("refused",)
    if odd:
        image, odd = any_image(content)
        return Picture(_free(file, ".png", taken), image, None, (*foreign, *odd) or (DISGUISED,))
    return Picture(_free(file, ".png" if content.startswith(PNG_HEAD) else ".jpg", taken), image, content, foreign)


def _free(file: str, ending: str, taken: set[str]) -> str:
    """The file's name, with an ending added unless it has one that training reads, made unique."""
    if PurePosixPath(file).suffix.lower() in ENDINGS:
        return file
    while file in taken:
        file += ending
    return file


def tfds_set(name: str, *, download: bool, data_dir: Path | None) -> ImageSource:
    """The train, test and validation splits of a tfds data set with an 8-bit `image` and a class `label`.

    Images without a label (-1, as in ImageNet's test split) are left out. The sets in KEPT give their JPEG files.
    Refuses an unknown name, a set of another kind, one that is not on this machine unless `download` fetches it, and
    whatever else tfds cannot do."""
    with _telling(f"source {name!r} cannot be read by tfds"):
        from lifeq_jax.data.pipeline import tensorflow

        tensorflow()
        import tensorflow_datasets as tfds

    place = None if data_dir is None else str(data_dir)
    with _telling(f"source {name!r} is unknown; choose digits, folder, or the name of a tfds set{_near(tfds, name)}"):
        builder = tfds.builder(name, data_dir=place)
    with _telling(f"tfds set {name!r} cannot be read"):
        _check_features(name, builder.info.features)
        is_there = builder.is_prepared()
    if not is_there:
        _fetch(name, builder, download)
    with _telling(f"tfds set {name!r} cannot be read"):
        splits = [split for split in TFDS_SPLITS if split in builder.info.splits]
        total = sum(builder.info.splits[split].num_examples for split in splits)
    return ImageSource(total, lambda: _examples(tfds, builder, splits))


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turns every exception of tfds or of a set's own code into a refusal: `what`, then the error's first line."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(f"{what} ({first_line(error)})") from None


def _near(tfds: Any, name: str) -> str:
    near = get_close_matches(name.lower(), tfds.list_builders(with_community_datasets=False))
    return f", as {', '.join(near)}" if near else ""


def _examples(tfds: Any, builder: Any, splits: list[str]) -> Iterator[Picture]:
    with _telling(f"tfds set {builder.name!r} cannot be read"):
        name_of = builder.info.features["label"].int2str
        decoders = {"image": tfds.decode.SkipDecoding()} if builder.name in KEPT else None
        for split in splits:
            examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, decoders=decoders))
            for index, example in enumerate(examples):
                if example["label"] >= 0:
                    label = name_of(example["label"]).replace("/", "_")
                    yield _picture(f"{TFDS_SPLITS[split]}/{label}/{index:06d}", example["image"])


def _picture(place: str, image: np.ndarray | bytes) -> Picture:
    """The picture of pixels, or of the content of a JPEG file; `place` is its name without the suffix."""
    if not isinstance(image, bytes):
        return Picture(f"{place}.png", Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
    name = f"{place}.jpg"
    with _named(Path(name)):
        try:
            return Picture(name, check_stored(image, inks=True)[0], image)
        except Refusal:
            decoded, kinds = any_image(image)
            return Picture(name, decoded, None, kinds)


def _check_features(name: str, features: Any) -> None:
    image, label = (dict(features.items()).get(key) for key in ("image", "label"))
    classes = getattr(label, "num_classes", None)
    if image is None or len(image.shape or ()) != 3 or image.np_dtype != np.uint8 or not classes:
        raise Refusal(f"tfds set {name!r} is not image classification with an 8-bit `image` and a class `label`")


def _fetch(name: str, builder: Any, download: bool) -> None:
    if not download:
        raise Refusal(f"tfds set {name!r} is not in {builder.data_path}; pass --download to fetch it")
    with _telling(f"tfds set {name!r} could not be fetched"):
        builder.download_and_prepare()
